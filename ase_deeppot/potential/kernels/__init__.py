"""The loops over pairs, compiled with numba: the sums of ``moments`` and their transpose, in vector instructions.

Used where numba is installed and the model runs on the CPU; ``moments`` says what is computed. The neighbours of
an atom are gathered by species into blocks of short rows, one for each quantity, filled up with weightless neighbours
to whole vectors. A loop over them takes two or four degrees of the Chebyshev recursion at a time, as many as registers
hold the sums or the coefficients of.

Indices are unsigned: numba lets negative ones count from the end, and a loop that could meet one is not vectorised.
The rows of a block lie at fixed distances in one flat array: so the compiler sees that they do not overlap.
"""

from ase_deeppot.potential.kernels.bispectrum import Third
from ase_deeppot.potential.kernels.blocks import Blocks, gather, new_blocks, suffices
from ase_deeppot.potential.kernels.environment import COLUMNS, HARMONICS, START, Mixing, capacity
from ase_deeppot.potential.kernels.fitting_net import (
           BACK,
           BIAS,
           IDT,
           N_IN,
           N_OUT,
           Net,
           fitting_net,
           four,
           padded,
           whole,
)
from ase_deeppot.potential.kernels.forces import forces_and_virials
from ase_deeppot.potential.kernels.forces_backward import forces_and_virials_backward
from ase_deeppot.potential.kernels.groups import Columns, Matrices, add_forces, describe
from ase_deeppot.potential.kernels.layout import LANES, WIDTH
from ase_deeppot.potential.kernels.moments import moments
from ase_deeppot.potential.kernels.net_response import Kept, add_matrix_bars, lay_out
from ase_deeppot.potential.kernels.polynomial import Terms
from ase_deeppot.potential.kernels.products import products, products_backward
from ase_deeppot.potential.kernels.response import Surroundings, add_embedding_bars, respond, respond_backward

__all__ = ["BACK", "BIAS", "COLUMNS", "HARMONICS", "IDT", "LANES", "N_IN", "N_OUT", "START", "WIDTH", "Blocks",
           "Columns", "Kept", "Matrices", "Mixing", "Net", "Surroundings", "Terms", "Third", "add_embedding_bars",
           "add_forces", "add_matrix_bars", "capacity", "describe", "fitting_net", "forces_and_virials",
           "forces_and_virials_backward", "four", "gather", "lay_out", "moments", "new_blocks", "padded", "products",
           "products_backward", "respond", "respond_backward", "suffices", "whole"]
