"""From the descriptor of an atom to its energy: one net per species."""

from typing import List, Tuple, Union, cast

import torch
from torch import Tensor, nn

from ase_deeppot.potential.config import FittingNetConfig
from ase_deeppot.potential.networks import ResidualLayer, ResidualNet
from ase_deeppot.potential.polynomial import Polynomial

Output = Union[nn.Linear, Polynomial]


class FittingNet(nn.Module):
    """``E_i = N_t((D_i - mean_t) / scale) + bias_t`` with t the species of atom i.

    Centred and scaled, the net's input is of order one, which training with orthogonalised updates needs. Parameters
    of the frame and of the atom, where a model takes them, follow the descriptor, normalised too.
    """

    energy_bias: Tensor  # [T] float64, eV
    mean: Tensor  # [T, width] float64, of the descriptors
    scale: Tensor  # [] float64, spread of the descriptors about their means
    parameter_mean: Tensor  # [k] float64; only if there are parameters
    parameter_inverse: Tensor  # [k] float64, 1 / their spread; only if there are parameters

    def __init__(self, config: FittingNetConfig, width: int, n_types: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.n_parameters, self.polynomial = config.parameters, len(config.polynomial) > 0
        sizes = config.polynomial or ((0, 0),) * n_types
        self.nets = nn.ModuleList(species_net(config, width + config.parameters, dtype, size) for size in sizes)
        self.register_buffer("energy_bias", torch.zeros(n_types, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(n_types, width, dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        if config.parameters:
            self.register_buffer("parameter_mean", torch.zeros(config.parameters, dtype=torch.float64))
            self.register_buffer("parameter_inverse", torch.ones(config.parameters, dtype=torch.float64))

    def normalisation(self) -> Tuple[Tensor, Tensor]:
        """What is taken from the parameters, and what they are then multiplied with; both [k], on the CPU."""
        if self.n_parameters:
            return self.parameter_mean.cpu(), self.parameter_inverse.cpu()
        return torch.zeros(0, dtype=torch.float64), torch.ones(0, dtype=torch.float64)

    def parts(self, t: int) -> Tuple[List[ResidualLayer], Output]:
        """Residual layers and output of the net of species t."""
        hidden, output = cast(nn.Sequential, self.nets[t])
        return list(cast(ResidualNet, hidden).layers), cast(Output, output)  # type: ignore[arg-type]

    def output(self, t: int) -> nn.Linear:
        """Output layer of the net of species t, where that is linear, as in training."""
        return cast(nn.Linear, self.parts(t)[1])


def species_net(config: FittingNetConfig, width: int, dtype: torch.dtype,
                polynomial: Tuple[int, int] = (0, 0)) -> nn.Module:
    """Residual layers and a linear output that starts near zero, so that training starts at the bias.

    A polynomial of some pairs and terms, all zero, is in the output's place.
    """
    widths = (width, *config.neuron)
    output = Polynomial(widths[-1], *polynomial, dtype) if any(polynomial) else _linear(widths[-1], dtype)
    return nn.Sequential(ResidualNet(widths, config.activation, config.resnet_dt, dtype, config.shortcut), output)


def _linear(width: int, dtype: torch.dtype) -> nn.Linear:
    output = nn.Linear(width, 1, dtype=dtype)
    nn.init.normal_(output.weight, std=(width + 1) ** -0.5)
    nn.init.zeros_(output.bias)
    return output
