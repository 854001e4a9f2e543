"""Third-order invariants of an environment, its bispectrum (A. P. Bartok, R. Kondor, G. Csanyi, PRB 87, 184115, 2013).

    B_abc = sum_xyz g_xyz A^(l)_xa A^(l')_yb A^(l'')_zc,   g_xyz = <Y_lx Y_l'y Y_l''z> over all directions,

from the first columns of the environments ``A^(l) = G^T R_l`` of orders 1 and up. They see three neighbours at a time,
the products ``A^T A_<`` two.
"""

from itertools import combinations_with_replacement, product
from typing import List, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from ase_deeppot.potential.harmonics import harmonics

ORDERS = ((1, 1, 2), (2, 2, 2), (1, 2, 3), (2, 3, 3))  # whose sum is even, so that g is not zero; 1 and 1 with 2
COUPLED = 3  # highest of these orders
NOTHING = 1e-12  # of g: rounding errors of the quadrature


class Coupling(nn.Module):
    """The invariants that three angular orders have in common."""

    gaunt: Tensor  # [2 l + 1, 2 l' + 1, 2 l'' + 1]
    places: Tensor  # [K], of the invariants that differ from each other, among all columns^3

    def __init__(self, orders: Tuple[int, int, int], columns: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.first, self.second, self.third = (l - 1 for l in orders)  # noqa: E741  # places in a list from order 1 on
        self.columns = columns
        self.register_buffer("gaunt", gaunt(*orders).to(dtype), persistent=False)
        self.register_buffer("places", _places(orders, columns), persistent=False)

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        """B [n, K], linear in each of the environments [n, 2 l + 1, columns] of the three orders."""
        pairs = self._pairs(a, b)
        every = torch.einsum("nzij,nzk->nijk", [pairs, c])
        return every.flatten(1).index_select(1, self.places)

    def backward(self, g: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """From the derivatives by B to those by each of the three."""
        n, m = self.columns, g.shape[0]
        bar = torch.zeros(m, n * n * n, dtype=g.dtype, device=g.device).index_copy(1, self.places, g)
        bar = bar.view(m, n, n, n)
        inner = torch.einsum("nijk,nzk->nijz", [bar, c])
        of_a = torch.einsum("xyz,niyz->nxi", [self.gaunt, torch.einsum("nijz,nyj->niyz", [inner, b])])
        of_b = torch.einsum("xyz,njxz->nyj", [self.gaunt, torch.einsum("nijz,nxi->njxz", [inner, a])])
        return of_a, of_b, torch.einsum("nzij,nijk->nzk", [self._pairs(a, b), bar])

    def _pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """``sum_xy g_xyz a_xi b_yj``, [n, z, i, j]."""
        return torch.einsum("nxzj,nxi->nzij", [torch.einsum("xyz,nyj->nxzj", [self.gaunt, b]), a])


def couplings(l_max: int, columns: int, dtype: torch.dtype) -> List[Coupling]:
    """All of orders up to l_max; none of no columns."""
    return [Coupling(orders, columns, dtype) for orders in ORDERS if max(orders) <= l_max and columns]


def bispectrum(every: List[Coupling], a: List[Tensor]) -> Tensor:
    """B [n, K] of the environments of orders 1 and up, [n, 2 l + 1, columns] each; for autograd, too."""
    return torch.cat([one(a[one.first], a[one.second], a[one.third]) for one in every], dim=1)


def along(every: List[Coupling], a: List[Tensor], dot: List[Tensor]) -> Tensor:
    """The change of B where the environments change by ``dot``."""
    return torch.cat([sum(one(*of) for of in _one_of_three(one, a, dot)) for one in every], dim=1)


def backward(every: List[Coupling], a: List[Tensor], g: Tensor) -> List[Tensor]:
    """From the derivatives by B to those by the environments; for autograd, too."""
    bars = [torch.zeros_like(part) for part in a]
    for one, g_one in zip(every, g.split([len(one.places) for one in every], dim=1), strict=True):
        places = one.first, one.second, one.third
        for place, bar in zip(places, one.backward(g_one, *(a[place] for place in places)), strict=True):
            bars[place] = bars[place] + bar
    return bars


def backward_along(every: List[Coupling], a: List[Tensor], dot: List[Tensor], g: Tensor) -> List[Tensor]:
    """The change of ``backward`` where the environments change by ``dot``."""
    bars = [torch.zeros_like(part) for part in a]
    for one, g_one in zip(every, g.split([len(one.places) for one in every], dim=1), strict=True):
        places = one.first, one.second, one.third
        for moved, of in enumerate(_one_of_three(one, a, dot)):
            for k, bar in enumerate(one.backward(g_one, *of)):
                if k != moved:  # what does not depend on the one that moves
                    bars[places[k]] = bars[places[k]] + bar
    return bars


def _one_of_three(one: Coupling, a: List[Tensor], dot: List[Tensor]) -> List[Tuple[Tensor, Tensor, Tensor]]:
    """The three factors with one of them replaced by its change, each in turn."""
    p, q, r = one.first, one.second, one.third
    return [(dot[p], a[q], a[r]), (a[p], dot[q], a[r]), (a[p], a[q], dot[r])]


def gaunt(l: int, l_second: int, l_third: int) -> Tensor:  # noqa: E741
    """``<Y_lx Y_l'y Y_l''z>`` over all directions, [2 l + 1, 2 l' + 1, 2 l'' + 1] float64, by exact quadrature."""
    z, weight = np.polynomial.legendre.leggauss(8)  # of polynomials to degree 15, and angles to 15 times as fast
    angle = np.arange(16) * (2 * np.pi / 16)
    z, angle = (part.ravel() for part in np.meshgrid(z, angle, indexing="ij"))
    across = np.sqrt(1 - z * z)
    y = harmonics(torch.from_numpy(np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)), COUPLED)
    weights = torch.from_numpy(np.repeat(weight, 16) / 32)
    parts = [y[:, k * k : (k + 1) ** 2] for k in (l, l_second, l_third)]
    found = torch.einsum("q,qx,qy,qz->xyz", weights, *parts)
    return torch.where(found.abs() < NOTHING, torch.zeros_like(found), found)


def _places(orders: Tuple[int, int, int], columns: int) -> Tensor:
    """Of the columns a, b, c that give different invariants: those of equal orders may be exchanged."""
    every = range(columns)
    if orders[0] == orders[2]:
        taken = list(combinations_with_replacement(every, 3))
    elif orders[0] == orders[1]:
        taken = [(*two, c) for two, c in product(combinations_with_replacement(every, 2), every)]
    elif orders[1] == orders[2]:
        taken = [(a, *two) for a, two in product(every, combinations_with_replacement(every, 2))]
    else:
        taken = list(product(every, every, every))
    return torch.tensor([(a * columns + b) * columns + c for a, b, c in taken], dtype=torch.int64)
