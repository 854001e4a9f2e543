"""Pictures of structures, their atoms coloured by element or by the error of the force on them."""

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from ase_deeppot.fitting.plots import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROTATION = "-75x,10y,5z"  # of what is periodic
LARGE = 100  # atoms, from which on they are drawn smaller
COLORS = "YlOrRd"


def draw_structure(atoms: Atoms, force_error: np.ndarray) -> "Figure":
    """A structure twice: elements, and the size of the force errors [N], eV/A, from white to red."""
    drawing = figure(5.6, 2.8)
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    left, right = drawing.subplots(1, 2)
    scale = ScalarMappable(Normalize(0.0, max(float(force_error.max(initial=0.0)), 1e-6)), colormaps[COLORS])
    _draw(left, atoms, None)
    _draw(right, atoms, scale.to_rgba(force_error)[:, :3])
    drawing.colorbar(scale, ax=right, shrink=0.8, label="force error, eV/A")
    return drawing


def _draw(axes: "Axes", atoms: Atoms, colors: np.ndarray | None) -> None:
    from ase.visualize.plot import Matplotlib

    periodic = bool(atoms.pbc.any())
    seen = _wrapped(atoms) if periodic else _flat(atoms)
    radii = covalent_radii[atoms.numbers] * (0.8 if len(atoms) < LARGE else 0.65)
    Matplotlib(seen, axes, rotation=ROTATION if periodic else "", colors=colors, radii=radii,
               show_unit_cell=2 if periodic else 0).write()
    axes.set_axis_off()


def _wrapped(atoms: Atoms) -> Atoms:
    """With all atoms in the cell."""
    seen = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    seen.wrap()
    return seen


def _flat(atoms: Atoms) -> Atoms:
    """Turned so that one looks along the direction in which the atoms spread least."""
    centred = atoms.positions - atoms.positions.mean(0)
    axes = np.linalg.svd(centred, full_matrices=True)[2]
    return Atoms(atoms.numbers, centred @ axes.T)
