"""Training in compiled loops, all species at once: what it adds to ``response``, whose formulas test_response has."""

import gc
import weakref

import pytest
import torch
from builders import random_model

pytest.importorskip("numba", reason="the loops are compiled with numba")

from ase_deeppot.potential import compiled_response, deep_potential
from ase_deeppot.potential.threads import given_back, number_of_threads, taken_from_torch

ORDER = 8


@pytest.fixture
def threads():
    """Function: so many of torch's."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def case(n, seed=0, only=None, **options):
    """Model, types and moments of n atoms of two species, or of one of them."""
    model = random_model(order=ORDER, **options).module.train()
    generator = torch.Generator().manual_seed(seed)
    types = torch.randint(0, 2, (n,), generator=generator) if only is None else torch.full((n,), only)
    rows, dtype = (model.descriptor.l_max + 1) ** 2, model.descriptor.dtype
    p = torch.randn(n, rows, 2, ORDER, dtype=torch.float64, generator=generator).to(dtype)
    return model, types, p


def run(model, types, p, parameters=None):
    """Energies, K, and the gradients of some function of both."""
    model.zero_grad()
    energies, k = model.respond(types, p, parameters)
    generator = torch.Generator().manual_seed(1)
    e_bar, v = (torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (energies, k))
    ((e_bar * energies).sum() + (v * k).sum()).backward()
    return energies.detach(), k.detach(), {name: weight.grad for name, weight in model.named_parameters()}


def assert_same(got, expected, tolerance=1e-11):
    for one, other in zip(got[:2], expected[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
    for name, gradient in expected[2].items():
        assert (got[2][name] is None) == (gradient is None), name
        if gradient is not None:
            scale = float(gradient.abs().max())
            torch.testing.assert_close(got[2][name], gradient, rtol=0, atol=tolerance * (1 + scale), msg=name)


@pytest.mark.parametrize("n", [1, 5, 40, 300])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 1e-11), ("float32", 1e-3)])
def test_all_species_at_once_as_one_by_one(monkeypatch, threads, n, count, precision, tolerance):
    """With groups of more than 128 atoms, and fewer atoms than threads; by torch in the order of its own sums."""
    arguments = case(n, precision=precision)
    threads(count)
    got = run(*arguments)
    monkeypatch.setattr(deep_potential, "compilable", lambda: False)
    assert_same(got, run(*arguments), tolerance)


def test_angular_orders_above_those_that_couple(monkeypatch):
    arguments = case(30, l_max=5, bispectrum_neuron=2)
    got = run(*arguments)
    monkeypatch.setattr(deep_potential, "compilable", lambda: False)
    assert_same(got, run(*arguments))


@pytest.mark.parametrize("only", [0, 1])
def test_weights_of_a_species_that_is_not_there_have_no_gradient(monkeypatch, only):
    arguments = case(6, only=only)
    got = run(*arguments)
    missing = {name for name, gradient in got[2].items() if gradient is None}
    assert missing == {name for name in got[2] if name.startswith(f"fitting_net.nets.{1 - only}.")}
    monkeypatch.setattr(deep_potential, "compilable", lambda: False)
    assert_same(got, run(*arguments))


def test_inputs_beside_the_descriptor(monkeypatch):
    arguments = case(30, frame_parameters=2, atom_parameters=1)
    parameters = torch.randn(30, 3, dtype=torch.float64)
    got = run(*arguments, parameters)
    assert (got[0] != run(*arguments, parameters + 0.1)[0]).any()
    got = run(*arguments, parameters)
    monkeypatch.setattr(deep_potential, "compilable", lambda: False)
    assert_same(got, run(*arguments, parameters))


def test_a_second_way_back_gives_the_same():
    model, types, p = case(20)
    energies, k = model.respond(types, p)
    value = energies.sum() + k.square().sum()
    weights = list(model.parameters())
    first = torch.autograd.grad(value, weights, retain_graph=True)
    for one, other in zip(torch.autograd.grad(value, weights), first, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_what_is_kept_lives_as_long_as_it_may_be_needed(monkeypatch):
    """And nothing is kept where no gradient is asked for."""
    model, types, p = case(20)
    rooms, made = [], compiled_response._room

    def room(*arguments):
        result = made(*arguments)
        rooms.append(weakref.ref(result.kept.x))
        return result

    monkeypatch.setattr(compiled_response, "_room", room)
    energies, _ = model.respond(types, p)
    gc.collect()
    assert all(kept() is not None for kept in rooms)
    del energies, _
    gc.collect()
    assert all(kept() is None for kept in rooms)
    with torch.no_grad():
        model.respond(types, p)
        assert len(rooms) > 1
    assert all(kept() is None for kept in rooms)


def test_threads_are_taken_from_torch_for_a_while(threads):
    threads(3)
    with taken_from_torch():
        assert (torch.get_num_threads(), number_of_threads()) == (1, 3)
        with given_back():
            assert (torch.get_num_threads(), number_of_threads()) == (3, 3)
        assert (torch.get_num_threads(), number_of_threads()) == (1, 3)
    assert (torch.get_num_threads(), number_of_threads()) == (3, 3)
    with given_back():
        assert torch.get_num_threads() == 3
