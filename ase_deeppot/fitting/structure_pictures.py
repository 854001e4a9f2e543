"""Pictures of structures, their atoms coloured by element or by the error of the force on them."""

from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from ase_deeppot.fitting.plots import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROTATION = "-75x,10y,5z"
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

    Matplotlib(atoms, axes, rotation=ROTATION, colors=colors, radii=None if len(atoms) < 100 else 0.6,
               show_unit_cell=2 if atoms.pbc.any() else 0).write()
    axes.set_axis_off()
