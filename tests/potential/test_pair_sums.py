"""The sums over pairs that training uses, compiled against torch, and forces against their transpose."""

import pytest
import torch
from builders import needs_numba, random_atoms, random_model, types_in
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential import pair_sums
from ase_deeppot.potential.pair_sums import Structures, forces_and_virials, moments_of

MODEL = random_model(order=12)
RADIAL = MODEL.module.descriptor.geometry()


def structures(n, seed, closest=1.0):
    atoms = random_atoms(n, seed=seed)
    pairs = neighbor_pairs(closest * atoms.positions, closest * atoms.cell[:], atoms.pbc, MODEL.card.rcut)
    return Structures(*map(torch.from_numpy, (types_in(MODEL, atoms), pairs.i, pairs.j, pairs.vectors)))


def random_like(x, seed):
    return torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def in_torch(monkeypatch):
    """Calls a function without compiled loops."""
    def call(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(pair_sums, "compilable", lambda: False)
            return function(*arguments)
    return call


@needs_numba
@pytest.mark.parametrize("bend", [0.0, 1.5])
@pytest.mark.parametrize("closest", [1.0, 0.6])  # also closer than the series reaches
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
def test_compiled_sums_are_those_in_torch(in_torch, dtype, tolerance, closest, bend):
    radial = RADIAL._replace(dtype=dtype, basis=RADIAL.basis._replace(bend=bend))
    where = structures(9, seed=3, closest=closest)
    assert bool((where.vectors.norm(dim=1) < 1 / radial.basis.s_max).any()) == (closest < 1)
    p = moments_of(radial, where)
    torch.testing.assert_close(p, in_torch(moments_of, radial, where), rtol=tolerance, atol=tolerance)
    k = random_like(p, 0)
    if bend > 0:
        k[..., -1] = 0  # as of a series in such a variable
    one, other = (k.clone().requires_grad_(True) for _ in range(2))
    got, expected = forces_and_virials(radial, where, one), in_torch(forces_and_virials, radial, where, other)
    for part, whole in zip(got, expected, strict=True):
        torch.testing.assert_close(part, whole, rtol=tolerance, atol=tolerance * float(whole.detach().abs().max()))
    for result in (got, expected):
        torch.autograd.backward(sum((random_like(part, 7) * part).sum() for part in result))
    there = slice(None, None if bend == 0 else -1)
    torch.testing.assert_close(one.grad[..., there], other.grad[..., there], rtol=tolerance,
                               atol=tolerance * float(other.grad.abs().max()))


@given(n=st.integers(1, 8), seed=st.integers(0, 100), closest=st.sampled_from([0.6, 1.0]),
       bend=st.sampled_from([0.0, 1.5]))
def test_the_way_back_is_the_transpose(n, seed, closest, bend):
    """<f, F(k)> + <w, W(k)> = <k, transpose of (f, w)>, for F and W are linear in k."""
    where = structures(n, seed, closest)
    radial = RADIAL._replace(basis=RADIAL.basis._replace(bend=bend))
    k = random_like(moments_of(radial, where), seed).requires_grad_(True)
    force, virial = forces_and_virials(radial, where, k)
    product = (random_like(force, 1) * force).sum() + (random_like(virial, 2) * virial).sum()
    (k_bar,) = torch.autograd.grad(product, k)
    torch.testing.assert_close((k * k_bar).sum(), product, rtol=1e-10, atol=1e-10)


def test_atoms_without_neighbours_have_no_force():
    alone = Structures(torch.tensor([0, 1]), *(torch.zeros(0, dtype=torch.int64),) * 2,
                       torch.zeros(0, 3, dtype=torch.float64))
    p = moments_of(RADIAL, alone)
    assert not bool(p.any())
    for part in forces_and_virials(RADIAL, alone, torch.ones_like(p)):
        assert not bool(part.any())
