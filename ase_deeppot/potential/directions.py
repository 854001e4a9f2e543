"""Few functions that make up the environments of an atom, and the products of them that matter.

The environments of the centres of one species are ``A = P C``, with moments P that any structure may have. C is
``Y vectors^T`` with fewer columns Y, so ``A = y vectors^T`` with ``y = P Y``. The first columns of Y make up the axis
components alone, and both they and the others fall off fast where the embedding nets are smooth: then most products
``y_a y_r`` are below what the precision shows, and most of those that are left below what double precision is for.
"""

from typing import List, NamedTuple

import torch
from torch import Tensor, nn

SINGLE = 2.0**-23  # relative rounding error in single precision, of two factors
MULTIPLE = 4  # of directions, and of terms: the compiled loops take four at a time


class Directions(NamedTuple):
    """The functions y of one angular order and one species of centres."""

    vectors: Tensor  # [M, R], A = y vectors^T
    axis: Tensor  # [axis, axis'], the first `axis` components of A, made of the first axis' functions alone
    making: Tensor  # [M, R], Y = C making
    sizes: Tensor  # [R], norms of the columns of Y
    ends: List[int]  # [axis'], the products taken are y_a y_r with a <= r < ends[a]
    large: List[int]  # [axis'], those with r < large[a] are so large that single precision would show


def directions(c: Tensor, axis_neuron: int, tolerance: float) -> Directions:
    """Significant functions, with columns C [n, M] of which the first ``axis_neuron`` are the axis components."""
    near, far = c[:, :axis_neuron], c[:, axis_neuron:]
    least = tolerance * torch.linalg.matrix_norm(c, 2)
    left, sizes, turned = torch.linalg.svd(near, full_matrices=False)
    rank = max(1, int((sizes > least).sum()))
    left, axis = left[:, :rank], turned[:rank].t()
    share = left.t() @ far / sizes[:rank, None].clamp(min=torch.finfo(c.dtype).tiny)  # [axis', M - axis]
    rest = far - near @ axis @ share
    _, sizes, turned = torch.linalg.svd(rest, full_matrices=False)
    total = -(-(rank + int((sizes > least).sum())) // MULTIPLE) * MULTIPLE
    turned = nn.functional.pad(turned, [0, 0, 0, max(0, total - rank - len(turned))])  # where there are too few
    others = turned[: max(0, total - rank)].t()  # [M - axis, R - axis']
    none = axis.new_zeros(len(axis), others.shape[1])
    vectors = torch.cat([torch.cat([axis, none], dim=1), torch.cat([share.t(), others], dim=1)])
    making = torch.cat([torch.cat([axis, -axis @ share @ others], dim=1),
                        torch.cat([torch.zeros_like(share.t()), others], dim=1)])
    ends = [vectors.shape[1]] * rank
    return Directions(vectors, axis, making, torch.linalg.vector_norm(c @ making, dim=0), ends, ends)


def alike(found: List[Directions]) -> List[Directions]:
    """The same directions, in each order as many as in the others: the missing ones are zero."""
    rank = max((order.vectors.shape[1] for order in found), default=0)
    axis = max((order.axis.shape[1] for order in found), default=0)
    result = []
    for order in found:
        more = [0, rank - order.vectors.shape[1]]
        vectors, making, sizes = (nn.functional.pad(part, more) for part in (order.vectors, order.making, order.sizes))
        turned = nn.functional.pad(order.axis, [0, axis - order.axis.shape[1]])
        result.append(Directions(vectors, turned, making, sizes, [rank] * axis, [rank] * axis))
    return result


def without_small_products(found: Directions, weight: Tensor, tolerance: float) -> Directions:
    """Without the products that add less than ``tolerance`` to what ``weight`` [M * axis, H] makes of all of them.

    Those among the others whose rounding to single precision adds no more are told apart.
    """
    axis = found.axis.shape[1]
    added = torch.linalg.vector_norm(_by_product(found, weight), dim=2) * found.sizes[:axis, None] * found.sizes
    ends = _ends(added, tolerance)
    large = torch.minimum(_ends(added, tolerance / SINGLE), ends)
    return found._replace(ends=ends.tolist(), large=large.tolist())


def _ends(added: Tensor, tolerance: float) -> Tensor:
    """In each row of products, [axis', R], where those begin that can be left out."""
    in_order, which = added.flatten().square().sort()
    few = int((in_order.cumsum(0) <= tolerance**2 * in_order.sum()).sum())
    matter = torch.ones(added.numel(), dtype=torch.bool).index_fill(0, which[:few], False).view_as(added)
    places = torch.arange(1, added.shape[1] + 1)
    return torch.maximum((matter * places).amax(1), torch.arange(len(added)))  # of none: where they would start


def taken(ends: List[int], large: List[int], rank: int) -> Tensor:
    """Where the products taken are among all axis' * R of ``y_a y_r``: the large ones first, [K]."""
    runs = [(a, start, end) for starts, stops in ((range(len(ends)), large), (large, ends))
            for a, (start, end) in enumerate(zip(starts, stops, strict=True))]
    return torch.tensor([a * rank + r for a, start, end in runs for r in range(start, end)], dtype=torch.int64)


def fold_matrix(weight: Tensor, found: Directions) -> Tensor:
    """Weights [K, H] of the products taken, from the weights [M * axis, H] of the descriptor."""
    places = taken(found.ends, found.large, found.vectors.shape[1])
    return _by_product(found, weight).flatten(0, 1).index_select(0, places)


def _by_product(found: Directions, weight: Tensor) -> Tensor:
    """Weights of the products ``y_a y_r``, [axis', R, H]; those below the diagonal have been added to those above."""
    m, (axis, rotated) = found.vectors.shape[0], found.axis.shape
    w = weight.detach().to(torch.float64).cpu().view(m, axis, -1)
    full = torch.einsum("mr,ba,mbh->arh", found.vectors, found.axis, w)
    square = full[:, :rotated]
    full[:, :rotated] = square + square.transpose(0, 1)
    full[torch.arange(rotated), torch.arange(rotated)] *= 0.5
    return full * torch.ones(full.shape[:2], dtype=full.dtype).triu()[:, :, None]
