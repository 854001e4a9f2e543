"""Where DeePMD-kit would drop neighbours: frames in which an atom has more of a species than ``sel`` has slots."""

import numpy as np

from ase_deeppot.neighbors import Pairs
from ase_deeppot.potential.card import ModelCard


def overfull(card: ModelCard, types: np.ndarray, pairs: Pairs) -> str | None:
    """What to tell the user of an imported model for this structure, if anything; pairs are those within the cutoff."""
    sel = card.training.get("imported", {}).get("sel")
    if sel is None or len(pairs.i) == 0:
        return None
    n_types = len(card.type_map)
    kinds = pairs.i * n_types + types[pairs.j]
    counts = np.bincount(kinds, minlength=len(types) * n_types).reshape(-1, n_types)
    atom, t = np.unravel_index(int(np.argmax(counts - np.asarray(sel))), counts.shape)
    if counts[atom, t] <= sel[t]:
        return None
    return (f"atom {atom} has {counts[atom, t]} neighbours {card.type_map[t]} within {card.rcut:g} A, more than the "
            f"{sel[t]} that the model file has slots for (sel). DeePMD-kit drops the farthest of them, which makes its "
            "energy jump; here all count, so results differ from DeePMD-kit's for this structure, and the model was "
            "hardly trained for it")

