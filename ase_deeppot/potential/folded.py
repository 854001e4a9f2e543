"""A Deep Potential as it runs: the embedding folded into the first layer of the fitting net, derivatives written out.

With the embedding read as a series, the environment of an atom is ``A = C P``, and C has few significant directions
(``folding`` finds them): ``A = U y``, y [R, 4]. The descriptor ``A A_<^T`` is linear in the products ``y_a . y_r``,
and so is the first layer of the fitting net, which therefore takes these products instead of the descriptor: the
same function with fewer inputs. No automatic differentiation is needed to run it.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.moments import Basis, blocks, moments, pair_gradient
from ase_deeppot.potential.networks import activate_with_slope
from ase_deeppot.potential.parameters import normalised


class ResponseLayer(nn.Module):
    """``y = shortcut(x) + idt * act(x W + b)``, and the way back."""

    weight: Tensor  # [n_in, n_out]
    bias: Tensor  # [n_out]
    idt: Optional[Tensor]  # [n_out]
    back: Tensor  # [n_out, n_in], W^T with its rows scaled by idt
    shortcut: Optional[Tensor]  # [n_in, n_out]; None: x or (x, x) where the widths allow, as `copies` says

    def __init__(self, weight: Tensor, bias: Tensor, idt: Optional[Tensor], activation: str, copies: int,
                 shortcut: Optional[Tensor] = None) -> None:
        super().__init__()
        self.activation, self.copies = activation, copies
        back = (weight if idt is None else weight * idt).t()
        values = (("weight", weight), ("bias", bias), ("idt", idt), ("back", back), ("shortcut", shortcut))
        for name, value in values:
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """From x [n, n_in] to y [n, n_out] and the slope of the activation function."""
        y, slope = activate_with_slope(torch.addmm(self.bias, x, self.weight), self.activation)
        idt, shortcut = self.idt, self.shortcut
        if self.copies == 1 and idt is not None:
            return torch.addcmul(x, y, idt), slope
        if idt is not None:
            y = y * idt
        if shortcut is not None:
            return torch.addmm(y, x, shortcut), slope
        if self.copies == 1:
            return x + y, slope
        if self.copies == 2:
            return torch.cat([x, x], dim=1) + y, slope
        return y, slope

    def backward(self, g: Tensor, slope: Tensor) -> Tensor:
        """From dE/dy to dE/dx, [n, n_in]; uses the slope up."""
        inner, shortcut = slope.mul_(g), self.shortcut
        if shortcut is not None:
            return torch.addmm(torch.mm(g, shortcut.t()), inner, self.back)
        if self.copies == 1:
            return torch.addmm(g, inner, self.back)
        if self.copies == 2:
            return torch.addmm(g[:, : self.weight.shape[0]] + g[:, self.weight.shape[0] :], inner, self.back)
        return torch.mm(inner, self.back)


class ResponseNet(nn.Module):
    """Residual layers and a linear output: the energy of an atom and its derivative with respect to the input."""

    output: Tensor  # [n_last]
    bias: Tensor  # [] float64, eV, of the output and of the species

    def __init__(self, layers: List[ResponseLayer], output: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.backwards = nn.ModuleList(layers[::-1])  # the same ones
        self.register_buffer("output", output)
        self.register_buffer("bias", bias)

    def forward(self, z: Tensor) -> Tuple[Tensor, Tensor]:
        """Energies [n] float64, eV, and dE/dz [n, K], from z [n, K]."""
        slopes: List[Tensor] = []
        x = z
        for layer in self.layers:
            x, slope = layer(x)
            slopes.append(slope)
        energies = torch.mv(x, self.output).to(torch.float64) + self.bias
        g = self.output.expand(z.shape[0], -1)
        for k, layer in enumerate(self.backwards):
            g = layer.backward(g, slopes[len(slopes) - 1 - k])  # type: ignore[operator]
        return energies, g


class FoldedSpecies(nn.Module):
    """Energy of the atoms of one species from the moments of their environments."""

    radial: Tensor  # [T * L, R], y_0 = P_0 radial + constant
    angular: Tensor  # [T * L, R], y_c = P_c angular
    constant: Tensor  # [R]
    upper: Tensor  # [K], where a <= r among the axis * R products y_a . y_r

    def __init__(self, radial: Tensor, angular: Tensor, constant: Tensor, axis: int, net: ResponseNet) -> None:
        super().__init__()
        self.axis, self.net = axis, net
        rank = radial.shape[1]
        kept = torch.ones(axis, rank, dtype=torch.bool).triu().flatten()
        values = (("radial", radial), ("angular", angular), ("constant", constant), ("upper", kept.nonzero()[:, 0]))
        for name, value in values:
            self.register_buffer(name, value)

    def forward(self, p: Tensor, extra: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Energies [n] float64, eV, and K = dE/dP, from P [n, 4, T, L] and what the net takes beside the products."""
        rows = p.flatten(2)
        y = torch.cat([torch.matmul(rows[:, :1], self.radial) + self.constant,
                       torch.matmul(rows[:, 1:], self.angular)], dim=1)  # [n, 4, R]
        first = y[:, :, : self.axis]
        products = torch.bmm(first.transpose(1, 2), y).flatten(1)  # [n, axis * R]
        z = products.index_select(1, self.upper)
        if extra is not None:
            z = torch.cat([z, extra], dim=1)
        energies, z_bar = self.net(z)
        z_bar = z_bar[:, : self.upper.shape[0]]
        bar = torch.zeros_like(products).index_copy(1, self.upper, z_bar).view(-1, self.axis, y.shape[2])
        y_bar = torch.bmm(first, bar)  # [n, 4, R]
        y_bar[:, :, : self.axis] += torch.bmm(y, bar.transpose(1, 2))
        k = [torch.matmul(y_bar[:, :1], self.radial.t()), torch.matmul(y_bar[:, 1:], self.angular.t())]
        return energies, torch.cat(k, dim=1).view_as(p)


class FoldedPotential(nn.Module):
    """``E = sum_i E_i`` as ``deep_potential.DeepPotential``, ready to run: the program in a model file."""

    parameter_mean: Tensor  # [k] float64
    parameter_inverse: Tensor  # [k] float64, 1 / their spread

    def __init__(self, basis: Basis, species: List[FoldedSpecies], normalisation: Tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.order, self.s_max, self.rcut_smth, self.rcut = basis
        self.dtype = species[0].radial.dtype  # of the nets
        self.species = nn.ModuleList(species)
        self.register_buffer("parameter_mean", normalisation[0])
        self.register_buffer("parameter_inverse", normalisation[1])

    def extra(self, parameters: Optional[Tensor], n_atoms: int) -> Optional[Tensor]:
        """Parameters [N, k] as the nets take them; None for a model that takes none."""
        return normalised(parameters, self.parameter_mean, self.parameter_inverse, n_atoms, self.dtype)

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor,
                parameters: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Atomic energies E_i [N], eV, and dE/dvectors [E, 3], eV/A, float64; as ``DeepPotential.forward``."""
        if bool((i[1:] < i[:-1]).any()):
            raise ValueError("expected pairs in ascending order of their centre, got them unsorted")
        basis = Basis(self.order, self.s_max, self.rcut_smth, self.rcut)
        parts = blocks(basis, types.shape[0], len(self.species), i, types_j, vectors, self.dtype)
        p = moments(parts)
        k = torch.empty_like(p)
        extra = self.extra(parameters, types.shape[0])
        energies = torch.empty(types.shape[0], dtype=torch.float64, device=types.device)
        for t, species in enumerate(self.species):
            mine = torch.nonzero(types == t)[:, 0]
            e_t, k_t = species(p.index_select(0, mine), None if extra is None else extra.index_select(0, mine))
            energies = energies.index_copy(0, mine, e_t)
            k = k.index_copy(0, mine, k_t)
        return energies, pair_gradient(parts, k, vectors.shape[0])
