"""The sums that training needs, on a GPU or in Triton's interpreter, against those in torch."""

import importlib

import pytest
import torch
from builders import pairs_in, random_atoms, random_model, types_in

from ase_deeppot.potential import pair_sums
from ase_deeppot.potential.descriptor import Structures

pytest.importorskip("triton", reason="needs Triton, which comes with torch for CUDA")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def random_like(x, seed):
    return torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-4)])
@pytest.mark.parametrize(("l_max", "closest", "bend"), [(1, 1.0, 0.0), (2, 1.0, 1.5), (3, 0.6, 1.5)])  # 0.6: closer
def test_those_in_torch(monkeypatch, l_max, closest, bend, dtype, tolerance):  # than the series reaches
    model, atoms = random_model(order=10, l_max=l_max, rcut=3.5), random_atoms(4, seed=l_max)
    atoms.set_cell(closest * atoms.cell[:], scale_atoms=True)
    radial, pairs = model.module.descriptor.geometry(), pairs_in(model, atoms)
    radial = radial._replace(dtype=dtype, basis=radial.basis._replace(bend=bend))
    where = Structures(*map(torch.from_numpy, (types_in(model, atoms), pairs.i, pairs.j, pairs.vectors)))
    monkeypatch.setattr(pair_sums, "compilable", lambda: False)
    p = pair_sums.moments_of(radial, where)
    k = random_like(p, 0).requires_grad_(True)
    expected = pair_sums.forces_and_virials(radial, where, k)
    bars = [random_like(part, 7) for part in expected]
    torch.autograd.backward(sum((bar * part).sum() for bar, part in zip(bars, expected, strict=True)))
    module = importlib.import_module("ase_deeppot.potential.on_gpu.pair_sums")  # only here, after conftest has spoken
    sums = module.GpuSums(*radial, Structures(*(part.to(DEVICE) for part in where)))
    got = [sums.moments(), *sums.forces_and_virials(k.detach().to(DEVICE)),
           sums.backward(*(bar.to(DEVICE) for bar in bars), k.shape)]
    for part, other in zip(got, [p, *expected, k.grad], strict=True):
        other = other.detach()
        torch.testing.assert_close(part.cpu(), other, rtol=tolerance, atol=tolerance * float(other.abs().max()))
