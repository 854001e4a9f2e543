"""Where DeePMD-kit would drop neighbours: frames in which an atom has more of a species than ``sel`` has slots."""

import numpy as np

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import HybridConfig


def overfull(card: ModelCard, types: np.ndarray, pairs: Pairs) -> str | None:
    """What to tell the user of an imported model for this structure, if anything; pairs are those within the cutoff."""
    sel = card.training.get("imported", {}).get("sel")
    if sel is None or len(pairs.i) == 0:
        return None
    shape = card.config.descriptor
    kinds = pairs.i * len(card.type_map) + types[pairs.j]  # of a centre and a species of neighbours
    if not isinstance(shape, HybridConfig):
        return _overfull(card.type_map, card.rcut, np.asarray(sel), len(types), kinds)
    r = np.linalg.norm(pairs.vectors, axis=1)
    found = (_overfull(card.type_map, part.rcut, np.asarray(slots), len(types), kinds[r < part.rcut])
             for part, slots in zip(shape.parts, sel, strict=True))
    return next(filter(None, found), None)


def _overfull(type_map: tuple[str, ...], rcut: float, sel: np.ndarray, n_atoms: int, kinds: np.ndarray) -> str | None:
    counts = np.bincount(kinds, minlength=n_atoms * len(type_map)).reshape(-1, len(type_map))
    atom, t = np.unravel_index(int(np.argmax(counts - sel)), counts.shape)
    if counts[atom, t] <= sel[t]:
        return None
    return (f"atom {atom} has {counts[atom, t]} neighbours {type_map[t]} within {rcut:g} A, more than the "
            f"{sel[t]} that the model file has slots for (sel). DeePMD-kit drops the farthest of them, which makes its "
            "energy jump; here all count, so results differ from DeePMD-kit's for this structure, and the model was "
            "hardly trained for it")
