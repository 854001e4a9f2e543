"""Starting from another model: the same function where it knows the species, room for others where not."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot import DeepPotCalculator
from ase_deeppot.errors import ConfigError, DataError
from ase_deeppot.fitting import preview
from ase_deeppot.fitting.bias import change_bias
from ase_deeppot.fitting.checkpoint import load_checkpoint
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.preparation import Input, prepare
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import Model, load_model, save_model

ONE = {"neuron": [3, 6], "axis_neuron": 2, "type_one_side": True, "order": 32}  # the range of the series changes
SHAPES = {"one-side": ONE, "two-side": ONE | {"type_one_side": False},
          "bispectrum": ONE | {"bispectrum_neuron": 2}, "hybrid": {"kind": "hybrid", "parts": [
    ONE | {"rcut": 4.0, "order": 96}, {"kind": "radial", "rcut": 3.5, "neuron": [3, 6], "axis_neuron": 1, "order": 160},
    ONE | {"rcut": 3.0, "rcut_smth": 0.4, "type_one_side": False, "order": 96}]}}


@pytest.fixture(scope="module")
def copper(tmp_path_factory, alloys):
    """Function: file of a model trained a moment on copper, with a net per species or per pair, or a hybrid of both."""
    from ase_deeppot.fitting import fit
    written = {}

    def make(shape="one-side"):
        if shape not in written:
            folder = tmp_path_factory.mktemp("copper")
            written[shape] = fit(
                alloys(6, gold=0.0), alloys(2, seed=1, gold=0.0), output=str(folder), quiet=True,
                model={"rcut": 4.0, "descriptor": SHAPES[shape], "fitting_net": {"neuron": [6, 6]}},
                training={"steps": 5}, monitor={"plot": False, "report": False}).model
        return written[shape]

    return make


def prepared(images, model, tiny, **changes):
    from ase_deeppot.config import parse
    from ase_deeppot.fitting import FittingConfig
    config = parse(FittingConfig, tiny(**changes) | {"model": {}, "init_model": str(model)})
    return prepare(config, Input(read_frames(images)[0], None), None, lambda text: None)


def forces(model, atoms, path):
    save_model(path, model)
    own = atoms.copy()
    own.calc = DeepPotCalculator(path)
    return own.get_forces()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gold", [0.0, 0.4])
def test_known_species_keep_their_function(copper, alloys, tiny, tmp_path, shape, gold):
    """New species or not, and also where the new data have shorter distances and more neighbours."""
    (probe,) = alloys(1, seed=8, gold=0.0)
    images = alloys(6, seed=2, gold=gold, strain=0.1)
    before = forces(load_model(copper(shape)), probe, tmp_path / "before.pth")
    start = prepared(images, copper(shape), tiny)
    assert start.card.type_map == (("Cu", "Au") if gold else ("Cu",))
    assert start.card.config.descriptor == load_model(copper(shape)).card.config.descriptor
    after = forces(Model(start.model, start.card), probe, tmp_path / "after.pth")
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-8 * np.abs(before).max())


def test_new_species_have_nets_of_their_own(copper, alloys, tiny):
    start = prepared(alloys(6, seed=2), copper(), tiny)
    nets = start.model.fitting_net.nets
    assert not torch.equal(nets[0][0].layers[0].weight, nets[1][0].layers[0].weight)
    assert float(start.model.descriptor.sel[1]) == 0.0
    assert bool((start.model.descriptor.dstd > 0).all())
    assert start.card.training["init_model"]["name"] == "model.pth"


def test_the_energies_are_brought_to_the_new_data(copper, alloys, tiny, tmp_path):
    images = alloys(6, seed=2, gold=0.0)
    for atoms in images:
        atoms.calc.results["energy"] += 1000.0 * len(atoms)
    start = prepared(images, copper(), tiny)
    old = load_model(copper()).module.fitting_net.energy_bias
    assert float(start.model.fitting_net.energy_bias[0] - old[0]) == pytest.approx(1000.0, abs=2.0)


def test_training_on_from_a_model_and_restarting(copper, alloys, train, tmp_path, monkeypatch):
    images = alloys(6, seed=2)
    options = {"init_model": str(copper()), "model": {"fitting_net": {"neuron": [6, 6]}}}
    whole = train(images, output="whole", **options)
    assert load_model(whole.model).card.type_map == ("Cu", "Au")
    state = load_checkpoint(whole.model.with_name("checkpoint.pt"))
    assert state.step == 12
    gone = train(images, output="whole", restart=True, init_model="no longer there.pth")
    assert gone.finished


def test_options_that_the_model_does_not_have(copper, alloys, tiny):
    with pytest.raises(ConfigError, match=r"^expected model.rcut = 4.0, as init_model has it, got 5.0: leave it out$"):
        preview(alloys(2), init_model=str(copper()), model={"rcut": 5.0}, output="never")
    with pytest.raises(ValueError, match=r"cannot read model none.pth"):
        prepared(alloys(2), "none.pth", tiny)


def test_change_of_bias_fits_what_is_missed(copper, alloys):
    model = load_model(copper())
    images = alloys(5, seed=3, gold=0.0)
    frames, _ = read_frames(images)
    dataset = Dataset(frames, model.card.type_map, model.card.rcut)
    shift = change_bias(model, dataset)
    own = [DeepPotCalculator(copper()).get_potential_energy(atoms.copy()) for atoms in images]
    missed = np.array([atoms.get_potential_energy() for atoms in images]) - own
    sizes = np.array([len(atoms) for atoms in images])
    np.testing.assert_allclose(shift, [(missed * sizes).sum() / (sizes**2).sum()], rtol=1e-8)
    np.testing.assert_allclose(change_bias(model, dataset), 0.0, atol=1e-9)


def test_change_of_bias_by_isolated_atoms(copper):
    model = load_model(copper())
    atom = Atoms("Cu", [[0, 0, 0]])
    atom.calc = SinglePointCalculator(atom, energy=-7.5)
    change_bias(model, Dataset(read_frames(atom)[0], ("Cu",), model.card.rcut), "isolated_atoms")
    atom.calc = SinglePointCalculator(atom, forces=np.zeros((1, 3)))
    without_energy = Dataset(read_frames(atom)[0], ("Cu",), model.card.rcut)
    with pytest.raises(DataError, match="got none"):
        change_bias(model, without_energy)
