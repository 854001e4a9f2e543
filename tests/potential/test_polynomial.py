"""Polynomials in place of the nets' output: against their sum written out, and in every way a model runs."""

import builders
import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.errors import ConfigError, ModelFileError
from ase_deeppot.interop.export import to_dp
from ase_deeppot.potential.archive import from_bytes, to_bytes
from ase_deeppot.potential.config import FittingNetConfig, ModelConfig

SHAPE = {"polynomial": (9, 14), "fitting_neuron": (7,), "fitting_activation": "linear", "fitting_shortcut": False,
         "fitting_resnet_dt": False}  # as training makes them; others are possible
TOLERANCES = {"float64": 2e-9, "float32": 5e-4}  # of what folding leaves out, and of rounding


def written_out(polynomial, z):
    """``sum_abc w_abc z_a z_b z_c`` of each row."""
    result = []
    for row in z:
        every, total = [1.0, *row], 0.0
        for place, weight in zip(polynomial.places.tolist(), polynomial.weight.tolist(), strict=True):
            c, r = divmod(place, polynomial.pairs.shape[1])
            a, b = polynomial.pairs[:, r].tolist()
            total += weight * every[a] * every[b] * every[c]
        result.append(total)
    return result


@given(k=st.integers(1, 20), pairs=st.integers(1, 12), rows=st.integers(0, 4), seed=st.integers(0, 100))
def test_values_and_derivatives(k, pairs, rows, seed):
    rng = np.random.default_rng(seed)
    (_, polynomial), = builders.random_model(("H",), polynomial=(pairs,), fitting_neuron=(k,), seed=seed,
                                                  fitting_shortcut=False).module.fitting_net.nets
    z = torch.from_numpy(rng.normal(size=(rows, k))).requires_grad_()
    values, g = polynomial(z)
    np.testing.assert_allclose(values.detach(), written_out(polynomial, z.detach().numpy()), rtol=1e-12, atol=1e-10)
    expected, = torch.autograd.grad(values.sum(), z)
    torch.testing.assert_close(g.detach(), expected, rtol=1e-10, atol=1e-10)


OTHERS = [{"l_max": 1}, {"bispectrum_neuron": 2}, {"fitting_neuron": (6, 7), "fitting_activation": "tanh"},
          {"kind": "hybrid", "parts": [{"rcut": 3.0}, {"kind": "radial", "rcut": 4.0}]}]


@builders.every_way
@pytest.mark.parametrize("options", OTHERS)
def test_forces_are_minus_the_derivative(options, way):
    model, atoms = builders.random_model(**(SHAPE | options)), builders.random_atoms(7, seed=2)
    run = builders.predictor(model, **way)
    expected = -oracles.central_difference(builders.energy_at(run, atoms), atoms.positions)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(run(atoms).forces, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("options", OTHERS)
def test_every_way_to_run_a_model(precision, options):
    """Nets as written, folded in torch, in loops where there are any, and read from a file."""
    model = builders.random_model(**(SHAPE | {"precision": precision} | options))
    atoms = builders.random_atoms(40, seed=1, cell=9.0 * np.eye(3))
    expected = builders.predict(model, atoms, eager=True)
    scale = np.abs(expected.forces).max()
    for one in (model, from_bytes(to_bytes(model))):
        for compiled in (False, None):
            found = builders.predict(one, atoms, compiled=compiled)
            for part, wanted in zip(found[:3], expected[:3], strict=True):
                np.testing.assert_allclose(part, wanted, rtol=TOLERANCES[precision], atol=TOLERANCES[precision] * scale)


def test_what_a_file_says_of_them():
    with pytest.raises(ConfigError, match="expected a polynomial for each of H, O, got 1"):
        ModelConfig(("H", "O"), fitting_net=FittingNetConfig(polynomial=((3, 5),)))
    with pytest.raises(ConfigError, match="expected a layer before the polynomial, got none"):
        ModelConfig(("H",), fitting_net=FittingNetConfig((), polynomial=((3, 5),)))


def test_deepmd_kit_has_no_polynomials():
    with pytest.raises(ModelFileError, match=r"no polynomials in place of fitting nets: export nets\.pth"):
        to_dp(builders.random_model(l_max=1, **SHAPE))
