"""From the descriptor of an atom to its energy: one net per species."""

from typing import List

import torch
from torch import Tensor, nn

from ase_deeppot.potential.config import FittingNetConfig
from ase_deeppot.potential.networks import ResidualNet


class FittingNet(nn.Module):
    """``E_i = N_t(D_i) + bias_t`` with t the species of atom i."""

    energy_bias: Tensor  # [T] float64, eV

    def __init__(self, config: FittingNetConfig, width: int, n_types: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.nets = nn.ModuleList(species_net(config, width, dtype) for _ in range(n_types))
        self.register_buffer("energy_bias", torch.zeros(n_types, dtype=torch.float64))

    def forward(self, descriptors: List[Tensor]) -> List[Tensor]:
        """Energies [n_t] float64, eV, of the centres of each species t, from their descriptors [n_t, width]."""
        result: List[Tensor] = []
        for t, net in enumerate(self.nets):
            result.append(net(descriptors[t])[:, 0].to(torch.float64) + self.energy_bias[t])
        return result


def species_net(config: FittingNetConfig, width: int, dtype: torch.dtype) -> nn.Module:
    """Residual layers and a linear output that starts near zero, so that training starts at the bias."""
    widths = (width, *config.neuron)
    output = nn.Linear(widths[-1], 1, dtype=dtype)
    nn.init.normal_(output.weight, std=(widths[-1] + 1) ** -0.5)
    nn.init.zeros_(output.bias)
    return nn.Sequential(ResidualNet(widths, config.activation, config.resnet_dt, dtype), output)
