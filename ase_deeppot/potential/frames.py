"""Local frames, the coordinates D_ij in them, and what follows from dE/dD: all but the order of the neighbours.

    e_1 along R_ia,  e_3 along R_ia x R_ib,  e_2 = e_3 x e_1
    D_ij = (1/R, x/R^2, y/R^2, z/R^2)  or  1/R,  R = |R_ij|, (x, y, z) = R_ij in the frame

The derivative of E with respect to the pair vectors is linear in G = dE/dD (``gradient``); its transpose is the change
of D with the pair vectors (``change``). A frame turns with its two axis atoms by

    phi = (R_ib' . e_3/B_y - B_x/(A B_y) R_ia' . e_3,  -R_ia' . e_3/A,  R_ia' . e_2/A),
    A = |R_ia|, (B_x, B_y, 0) = R_ib in the frame,

a prime standing for the change of a vector; x then changes by R_ij' - phi x x, all in the frame.

Without R_ib only x/R^2 is known: y and z are taken to be zero. Without any neighbour D is zero.
"""

from typing import NamedTuple, Tuple

import torch
from torch import Tensor


class Frames(NamedTuple):
    """Neighbours in the slots of N atoms, in the atoms' frames. Empty slots have 1/R = 0."""

    rows: Tensor  # [N, S + 2] int64, row of each slot's pair, and of the axis atoms'; E where there is none
    axes: Tensor  # [N, 3, 3], rows e_1, e_2, e_3
    a: Tensor  # [N, 1], A, 1/A of R_ia
    b: Tensor  # [N, 2], B_x/(A B_y) and 1/B_y, 1/A
    known: Tensor  # [N, 1, 3], 1 for x, and for y and z if there is R_ib, else 0
    local: Tensor  # [N, full, 3], x, y, z, A
    far: Tensor  # [N, S - full, 3], vectors of the others, A
    inverse: Tensor  # [N, S], 1/R, 1/A


def frames(order: Tensor, full: int, i: Tensor, vectors: Tensor) -> Frames:
    """Frames of all atoms from ``slots.arrange`` [N, S + 2] and the vectors [E, 3] of the pairs."""
    n, n_pairs = order.shape[0], i.shape[0]
    counts = torch.bincount(i, minlength=n)
    first = (torch.cumsum(counts, 0) - counts).unsqueeze(1)
    there = order >= 0
    rows = torch.where(there, order + first, torch.full_like(first, n_pairs))
    padded = torch.cat([vectors, vectors.new_zeros(1, 3)])
    v = padded.index_select(0, rows.flatten()).view(n, order.shape[1], 3)
    s = order.shape[1] - 2
    squares = (v[:, :s] * v[:, :s]).sum(2)
    inverse = torch.where(there[:, :s], squares.rsqrt(), torch.zeros_like(squares))
    axes, a, b = _axes(v[:, s], v[:, s + 1], there[:, s], there[:, s + 1])
    known = torch.ones(n, 1, 3, dtype=v.dtype, device=v.device)
    known[:, 0, 1:] = there[:, s + 1 :].to(v.dtype)
    return Frames(rows, axes, a, b, known, torch.bmm(v[:, :full], axes.transpose(1, 2)), v[:, full:s], inverse)


def _axes(r_a: Tensor, r_b: Tensor, has_a: Tensor, has_b: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Frames, 1/A, and B_x/(A B_y) with 1/B_y."""
    unit = torch.eye(3, dtype=r_a.dtype, device=r_a.device)
    r_a = torch.where(has_a.unsqueeze(1), r_a, unit[0])
    across = unit.index_select(0, r_a.abs().argmin(1))  # any vector that is not along R_ia will do: y and z are unknown
    r_b = torch.where(has_b.unsqueeze(1), r_b, across)
    a = torch.linalg.vector_norm(r_a, dim=1, keepdim=True)
    e1 = r_a / a
    e3 = torch.linalg.cross(r_a, r_b, dim=1)
    e3 = e3 / torch.linalg.vector_norm(e3, dim=1, keepdim=True)
    e2 = torch.linalg.cross(e3, e1, dim=1)
    b_x, b_y = (r_b * e1).sum(1, keepdim=True), (r_b * e2).sum(1, keepdim=True)
    return torch.stack([e1, e2, e3], dim=1), 1.0 / a, torch.cat([b_x / (a * b_y), 1.0 / b_y], dim=1)


def describe(f: Frames) -> Tensor:
    """D, [N, 4 full + (S - full)], 1/A: the slots with all coordinates, then the others."""
    full = f.local.shape[1]
    inverse = f.inverse[:, :full].unsqueeze(2)
    angular = f.local * (inverse * inverse) * f.known
    return torch.cat([torch.cat([inverse, angular], dim=2).flatten(1), f.inverse[:, full:]], dim=1)


def gradient(f: Frames, g: Tensor, n_pairs: int) -> Tensor:
    """dE/dv of each pair, [E, 3], eV/A, from G = dE/dD [N, 4 full + (S - full)]."""
    full = f.local.shape[1]
    near, far = g[:, : 4 * full].view(g.shape[0], full, 4), g[:, 4 * full :].unsqueeze(2)
    inverse, w = f.inverse[:, :full].unsqueeze(2), near[:, :, 1:] * f.known
    square = inverse * inverse
    radial = near[:, :, :1] * inverse + 2.0 * square * (w * f.local).sum(2, keepdim=True)
    of_near = torch.bmm(square * (w - radial * f.local), f.axes)
    inverse = f.inverse[:, full:].unsqueeze(2)
    of_far = (-inverse * inverse * inverse * far) * f.far
    torque = torch.linalg.cross(w, f.local * square, dim=2).sum(1)  # dE/dphi
    of_axes = _torque_to_axes(f, torque)
    result = torch.zeros(n_pairs + 1, 3, dtype=g.dtype, device=g.device)
    parts = torch.cat([of_near, of_far, of_axes], dim=1)
    return result.index_add(0, f.rows.flatten(), parts.flatten(0, 1))[:n_pairs]


def _torque_to_axes(f: Frames, torque: Tensor) -> Tensor:
    """dE/dR_ia and dE/dR_ib, [N, 2, 3], from dE/dphi [N, 3]."""
    about_1, about_2, about_3 = torque[:, :1], torque[:, 1:2], torque[:, 2:]
    e2, e3 = f.axes[:, 1], f.axes[:, 2]
    of_a = f.a * about_3 * e2 - (f.a * about_2 + f.b[:, :1] * about_1) * e3
    return torch.stack([of_a, f.b[:, 1:] * about_1 * e3], dim=1)


def change(f: Frames, dv: Tensor) -> Tensor:
    """Change of D, [N, 4 full + (S - full)], with a small change ``dv`` [E, 3] of the pair vectors."""
    full, n = f.local.shape[1], f.rows.shape[0]
    padded = torch.cat([dv, dv.new_zeros(1, 3)])
    moved = padded.index_select(0, f.rows.flatten()).view(n, f.rows.shape[1], 3)
    phi = _turn(f, moved[:, -2], moved[:, -1]).unsqueeze(1)
    inverse = f.inverse[:, :full].unsqueeze(2)
    square = inverse * inverse
    dx = torch.bmm(moved[:, :full], f.axes.transpose(1, 2))
    along = (dx * f.local).sum(2, keepdim=True) * square  # R'/R
    dx = dx - torch.linalg.cross(phi.expand_as(dx), f.local, dim=2)
    near = torch.cat([-inverse * along, square * (dx - 2.0 * along * f.local) * f.known], dim=2)
    inverse = f.inverse[:, full:]
    far = -(inverse * inverse * inverse) * (moved[:, full:-2] * f.far).sum(2)
    return torch.cat([near.flatten(1), far], dim=1)


def _turn(f: Frames, da: Tensor, db: Tensor) -> Tensor:
    """phi [N, 3], the rotation of the frames with changes of R_ia and R_ib."""
    e2, e3 = f.axes[:, 1], f.axes[:, 2]
    a2, a3, b3 = ((da * e2).sum(1), (da * e3).sum(1), (db * e3).sum(1))
    inverse = f.a[:, 0]
    return torch.stack([f.b[:, 1] * b3 - f.b[:, 0] * a3, -inverse * a3, inverse * a2], dim=1)
