"""A Deep Potential as it runs: the embedding folded into the first layer of the fitting net, derivatives written out.

With the embedding read as a series, the environment of an atom is ``A = C P``, and C has few significant directions
(``directions`` finds them): ``A = U y``, y [R, 4], and likewise for each higher angular order. The descriptor
``A A_<^T`` is linear in the products ``y_a . y_r``, and so is the first layer of the fitting net, which therefore takes
those products that matter instead of the descriptor: the same function with fewer inputs. No automatic differentiation
is needed to run it.
"""

from typing import List, Optional, Tuple

import torch
from torch import Tensor, nn

from ase_deeppot.potential.directions import taken
from ase_deeppot.potential.folded_bispectrum import FoldedBispectrum
from ase_deeppot.potential.moments import Basis, Block, blocks, moments, pair_gradient
from ase_deeppot.potential.networks import activate_with_slope
from ase_deeppot.potential.parameters import normalised
from ase_deeppot.potential.polynomial import Polynomial


class ResponseLayer(nn.Module):
    """``y = shortcut(x) + idt * act(x W + b)``, and the way back."""

    weight: Tensor  # [n_in, n_out]
    bias: Tensor  # [n_out]
    idt: Optional[Tensor]  # [n_out]
    shortcut: Optional[Tensor]  # [n_in, n_out]; None: x or (x, x) where the widths allow, as `copies` says

    def __init__(self, weight: Tensor, bias: Tensor, idt: Optional[Tensor], activation: str, copies: int,
                 shortcut: Optional[Tensor] = None) -> None:
        super().__init__()
        self.activation, self.copies = activation, copies
        for name, value in (("weight", weight), ("bias", bias), ("idt", idt), ("shortcut", shortcut)):
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """From x [n, n_in] to y [n, n_out] and the derivative of ``idt * act``."""
        y, slope = self._activated(x)
        shortcut = self.shortcut
        if shortcut is not None:
            y.addmm_(x, shortcut)
        elif self.copies == 1:
            y.add_(x)
        elif self.copies == 2:
            y.add_(torch.cat([x, x], dim=1))
        return y, slope

    def _activated(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """``idt * act(x W + b)`` and its derivative with respect to ``x W + b``, in few passes over small matrices."""
        idt = self.idt
        if self.activation == "tanh":  # tanh u = 2 sigmoid(2 u) - 1
            half = self.linear(x, 2.0).sigmoid_().sub_(0.5)
            y = half * 2.0 if idt is None else half * (2.0 * idt)
            one = torch.ones(1, dtype=x.dtype, device=x.device) if idt is None else idt
            return y, torch.addcmul(one, y, half, value=-2.0)
        y, slope = activate_with_slope(self.linear(x, 1.0), self.activation)
        return (y, slope) if idt is None else (y * idt, slope * idt)

    def linear(self, x: Tensor, factor: float) -> Tensor:
        """``factor (x W + b)``."""
        return torch.addmm(self.bias, x, self.weight, beta=factor, alpha=factor)

    def backward(self, g: Tensor, slope: Tensor) -> Tensor:
        """From dE/dy to dE/dx, [n, n_in]; uses the slope up."""
        inner, shortcut = slope.mul_(g), self.shortcut
        back = self.weight.t()  # no second copy, scaled by idt, in the processor's cache
        if shortcut is not None:
            return torch.addmm(torch.mm(g, shortcut.t()), inner, back)
        if self.copies == 1:
            return torch.addmm(g, inner, back)
        if self.copies == 2:
            return torch.addmm(g[:, : self.weight.shape[0]] + g[:, self.weight.shape[0] :], inner, back)
        return torch.mm(inner, back)


class ResponseNet(nn.Module):
    """Residual layers and an output: the energy of an atom and its derivative with respect to the input."""

    output: Tensor  # [n_last], of a linear one; a polynomial takes no notice of it
    bias: Tensor  # [] float64, eV, of the output and of the species

    def __init__(self, layers: List[ResponseLayer], output: Tensor, bias: Tensor,
                 polynomial: Optional[Polynomial] = None) -> None:
        super().__init__()
        self.polynomial = polynomial
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
        if self.polynomial is not None:
            energies, g = self.polynomial(x)
        else:
            energies, g = torch.mv(x, self.output), self.output.expand(z.shape[0], -1)
        for k, layer in enumerate(self.backwards):
            g = layer.backward(g, slopes[len(slopes) - 1 - k])  # type: ignore[operator]
        return energies.to(torch.float64) + self.bias, g


class FoldedProducts(nn.Module):
    """Products of the environments of one species' centres, from their moments, and the way back."""

    radial: Tensor  # [T * L, R], y_0 = P_0 radial + constant
    angular: Tensor  # [T * L, R], y_c = P_c angular, order 1
    constant: Tensor  # [R]
    higher: Tensor  # [l_max - 1, T * L, R'], y_c = P_c higher_l, orders 2 and up
    runs: Tensor  # [3, axis] int64: of products y_a . y_r are taken first those with runs[0, a] <= r < runs[1, a], the
    # large ones, then those with runs[1, a] <= r < runs[2, a], for which single precision does
    upper: Tensor  # [K], where these are among all axis * R
    higher_upper: Tensor  # [K'], the same of each higher order

    def __init__(self, radial: Tensor, angular: Tensor, constant: Tensor, higher: Tensor, ends: List[int],
                 large: List[int], higher_axis: int, bispectrum: Optional[FoldedBispectrum] = None) -> None:
        super().__init__()
        self.bispectrum = bispectrum or FoldedBispectrum([], radial.new_zeros(0, 0), radial.new_zeros(0, 0, 0))
        self.axis, self.higher_axis, every = len(ends), higher_axis, [higher.shape[2]] * higher_axis
        values = (("radial", radial), ("angular", angular), ("constant", constant), ("higher", higher),
                  ("runs", torch.tensor([list(range(len(ends))), large, ends])),
                  ("upper", taken(ends, large, radial.shape[1])),
                  ("higher_upper", taken(every, every, higher.shape[2])))
        for name, value in values:
            self.register_buffer(name, value)

    def width(self) -> int:
        """Number of products, and of invariants of third order after them."""
        return self.upper.shape[0] + self.higher.shape[0] * self.higher_upper.shape[0] + self.bispectrum.width()

    def forward(self, p: Tensor) -> Tuple[List[Tensor], Tensor]:
        """Environments y, [n, 2 l + 1, R] each, orders 0 and 1 together, and products z [n, K], from P [n, Y, T, L]."""
        rows = p.flatten(2)
        y = [torch.cat([torch.matmul(rows[:, :1], self.radial) + self.constant,
                        torch.matmul(rows[:, 1:4], self.angular)], dim=1)]  # [n, 4, R]
        z = [products(y[0], self.axis, self.upper)]
        for k in range(self.higher.shape[0]):
            l = k + 2  # noqa: E741
            y.append(torch.matmul(rows[:, l * l : (l + 1) * (l + 1)], self.higher[k]))  # [n, 2 l + 1, R']
            z.append(products(y[k + 1], self.higher_axis, self.higher_upper))
        z.append(self.bispectrum(y))
        return y, torch.cat(z, dim=1)

    def backward(self, y: List[Tensor], z_bar: Tensor) -> Tensor:
        """From dE/dz [n, K] to dE/dP, [n, Y, T L]."""
        n, third = self.upper.shape[0], self.bispectrum.backward(y, z_bar[:, self.width() - self.bispectrum.width() :])
        y_bar = products_backward(y[0], z_bar[:, :n], self.axis, self.upper)
        if len(third) > 0:
            y_bar[:, 1:, : third[0].shape[2]] += third[0]
        bars = [torch.matmul(y_bar[:, :1], self.radial.t()), torch.matmul(y_bar[:, 1:], self.angular.t())]
        for k in range(self.higher.shape[0]):
            start, n = n, n + self.higher_upper.shape[0]
            y_bar = products_backward(y[k + 1], z_bar[:, start:n], self.higher_axis, self.higher_upper)
            if k + 1 < len(third):
                y_bar[:, :, : third[k + 1].shape[2]] += third[k + 1]
            bars.append(torch.matmul(y_bar, self.higher[k].t()))
        return torch.cat(bars, dim=1)


class FoldedSpecies(nn.Module):
    """Energy of the atoms of one species from the moments of their environments, of each part of the descriptor."""

    def __init__(self, parts: List[FoldedProducts], net: ResponseNet) -> None:
        super().__init__()
        self.parts, self.net = nn.ModuleList(parts), net

    def forward(self, p: List[Tensor], extra: Optional[Tensor] = None) -> Tuple[Tensor, List[Tensor]]:
        """Energies [n] float64, eV, and K = dE/dP, from P [n, Y, T, L] and what the net takes beside the products."""
        y: List[List[Tensor]] = []
        z: List[Tensor] = []
        for k, part in enumerate(self.parts):
            y_k, z_k = part(p[k])
            y.append(y_k)
            z.append(z_k)
        if extra is not None:
            z.append(extra)
        energies, z_bar = self.net(torch.cat(z, dim=1))
        bars: List[Tensor] = []
        start = 0
        for k, part in enumerate(self.parts):
            stop = start + part.width()  # type: ignore[operator]
            bars.append(part.backward(y[k], z_bar[:, start:stop]).view_as(p[k]))  # type: ignore[operator]
            start = stop
        return energies, bars


def products(y: Tensor, axis: int, upper: Tensor) -> Tensor:
    """``y_a . y_r``, a < axis, a <= r: [n, K] from y [n, m, R]."""
    return torch.bmm(y[:, :, :axis].transpose(1, 2), y).flatten(1).index_select(1, upper)


def products_backward(y: Tensor, z_bar: Tensor, axis: int, upper: Tensor) -> Tensor:
    """From the derivative with respect to the products to that with respect to y, [n, m, R]."""
    bar = torch.zeros(y.shape[0], axis * y.shape[2], dtype=y.dtype, device=y.device)
    bar = bar.index_copy(1, upper, z_bar).view(-1, axis, y.shape[2])
    y_bar = torch.bmm(y[:, :, :axis], bar)
    y_bar[:, :, :axis] += torch.bmm(y, bar.transpose(1, 2))
    return y_bar


class FoldedPotential(nn.Module):
    """``E = sum_i E_i`` as ``deep_potential.DeepPotential``, ready to run: the program in a model file."""

    parameter_mean: Tensor  # [k] float64
    parameter_inverse: Tensor  # [k] float64, 1 / their spread

    bases: List[Tuple[int, float, float, float, float, int]]  # `Basis` of each part of the descriptor

    def __init__(self, bases: List[Basis], species: List[FoldedSpecies], dtype: torch.dtype,
                 normalisation: Tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.bases = [tuple(basis) for basis in bases]  # type: ignore[misc]  # which TorchScript keeps
        self.dtype = dtype  # of the nets
        self.species = nn.ModuleList(species)
        self.register_buffer("parameter_mean", normalisation[0])
        self.register_buffer("parameter_inverse", normalisation[1])

    def extra(self, parameters: Optional[Tensor], n_atoms: int) -> Optional[Tensor]:
        """Parameters [N, k] as the nets take them; None for a model that takes none."""
        return normalised(parameters, self.parameter_mean, self.parameter_inverse, n_atoms, self.dtype)

    def blocks(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor) -> List[List[Block]]:
        """The neighbours as each part of the descriptor sees them."""
        n, n_types = types.shape[0], len(self.species)
        bases = [Basis(b[0], b[1], b[2], b[3], b[4], b[5]) for b in self.bases]
        return [blocks(basis, n, n_types, i, types_j, vectors, self.dtype) for basis in bases]

    def forward(self, types: Tensor, i: Tensor, types_j: Tensor, vectors: Tensor,
                parameters: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Atomic energies E_i [N], eV, and dE/dvectors [E, 3], eV/A, float64; as ``DeepPotential.forward``."""
        if bool((i[1:] < i[:-1]).any()):
            raise ValueError("expected pairs in ascending order of their centre, got them unsorted")
        parts = self.blocks(types, i, types_j, vectors)
        atoms = [torch.nonzero(types == t)[:, 0] for t in range(len(self.species))]
        energies, k = self.respond(atoms, [moments(part) for part in parts], parameters)
        gradient = pair_gradient(parts[0], k[0], vectors.shape[0])
        for m in range(1, len(parts)):
            gradient = gradient + pair_gradient(parts[m], k[m], vectors.shape[0])
        return energies, gradient

    def respond(self, atoms: List[Tensor], p: List[Tensor], parameters: Optional[Tensor] = None,
                ) -> Tuple[Tensor, List[Tensor]]:
        """Atomic energies E_i [N], eV, float64, and K = dE/dP [N, Y, T, L] of each part, from the moments P.

        ``atoms`` [T][n_t] int64 are those of each species.
        """
        k = [torch.empty_like(of_part) for of_part in p]
        extra = self.extra(parameters, p[0].shape[0])
        energies = torch.empty(p[0].shape[0], dtype=torch.float64, device=p[0].device)
        for t, species in enumerate(self.species):
            mine = atoms[t]
            e_t, k_t = species([of_part.index_select(0, mine) for of_part in p],
                               None if extra is None else extra.index_select(0, mine))
            energies = energies.index_copy(0, mine, e_t)
            for m, of_part in enumerate(k_t):
                k[m] = k[m].index_copy(0, mine, of_part)
        return energies, k
