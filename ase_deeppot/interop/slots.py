"""Where DeePMD-kit would drop neighbours: frames in which an atom has more of a species than ``sel`` has slots."""

import numpy as np

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import HybridConfig
from ase_deeppot.potential.neighbor_counts import neighbor_counts


def overfull(card: ModelCard, types: np.ndarray, pairs: Pairs) -> str | None:
    """What to tell the user of an imported model for this structure, if anything; pairs are those within the cutoff."""
    sel = card.training.get("imported", {}).get("sel")
    if sel is None or len(pairs.i) == 0:
        return None
    shape, n_types = card.config.descriptor, len(card.type_map)
    if not isinstance(shape, HybridConfig):
        return _overfull(card.type_map, card.rcut, np.asarray(sel), neighbor_counts(types, pairs, n_types))
    found = (_overfull(card.type_map, part.rcut, np.asarray(slots), neighbor_counts(types, pairs, n_types, part.rcut))
             for part, slots in zip(shape.parts, sel, strict=True))
    return next(filter(None, found), None)


def _overfull(type_map: tuple[str, ...], rcut: float, sel: np.ndarray, counts: np.ndarray) -> str | None:
    if not (counts > sel).any():
        return None
    atom, t = np.unravel_index(int(np.argmax(counts - sel)), counts.shape)
    return (f"atom {atom} has {counts[atom, t]} neighbours {type_map[t]} within {rcut:g} A, more than the "
            f"{sel[t]} that the model file has slots for (sel). DeePMD-kit drops the farthest of them, which makes its "
            "energy jump; here all count, so results differ from DeePMD-kit's for this structure, and the model was "
            "hardly trained for it")
