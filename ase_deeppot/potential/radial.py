"""The radial descriptor of DeePMD-kit (se_e2_r): distances alone, no angles."""

from dataclasses import replace
from typing import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from ase_deeppot.potential.config import SmoothConfig
from ase_deeppot.potential.smooth import Curves, SmoothDescriptor

SCALE = 0.2  # of the reference definition


class RadialDescriptor(SmoothDescriptor):
    """``D_i = sum_j G(s_ij) / (5 sum(sel))`` over the ``sel`` slots, the empty ones included.

    As a DeepPot-SE descriptor with one axis, which is the constant (1, 0, 0, 0): its product with the environment
    ``G^T R`` is the radial row, and the angular rows are zero. The first component of D is the constant's square, 1.
    """

    def __init__(self, config: SmoothConfig, rcut: float, type_map: Sequence[str], dtype: torch.dtype) -> None:
        super().__init__(replace(config, axis_neuron=1), rcut, type_map, dtype)
        self.products = self.width = config.neuron[-1] + 1

    def assembled(self, g: Tensor, rise: Tensor, g0: Tensor) -> Curves:
        """As ``SmoothDescriptor.assembled``, with M + 1 components, of which the first is the constant."""
        radial = pad(SCALE * rise * self.sees, [1, 0])
        slot = pad(SCALE * g0[:, :, 0], [1, 0], value=1.0)
        return Curves(radial, torch.zeros_like(radial), (), slot)
