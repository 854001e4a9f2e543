"""Training of local-frame models: slots and normalisation against counting, runs, restarts, what the file says."""

import dataclasses
import math

import builders
import numpy as np
import oracles
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot import DeepPotCalculator
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import fit
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.local_frame_statistics import force_jump, left_out, normalise_slots, with_slots
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.fitting.statistics import SMALLEST_SPREAD
from ase_deeppot.potential.archive import load_model, read_card
from ase_deeppot.potential.card import describe
from ase_deeppot.potential.config import LocalFrameConfig, ModelConfig
from ase_deeppot.resources import find

TYPE_MAP = ("H", "O")
RCUT = 4.0
LOCAL = {"descriptor": {"kind": "local_frame"}, "fitting_net": {"neuron": [8, 6]}, "precision": "float64", "rcut": 4.0}


@pytest.fixture(scope="module")
def images():
    made = [builders.random_atoms(n, symbols, seed=n, pbc=pbc) for n, symbols, pbc in (
        (6, ("H", "O"), True), (1, ("O",), False), (4, ("H",), False), (7, ("H", "O"), (True, True, False)))]
    for atoms in made:
        atoms.calc = SinglePointCalculator(atoms, energy=-3.0 * len(atoms))
    return made


@pytest.fixture(scope="module")
def dataset(images):
    return Dataset(read_frames(images)[0], TYPE_MAP, RCUT)


def around(images, rcut):
    """Types and neighbours of each frame."""
    for atoms in images:
        types = [TYPE_MAP.index(symbol) for symbol in atoms.symbols]
        yield types, oracles.neighbors(atoms.positions, atoms.cell[:], atoms.pbc, rcut)


def most(images, rcut):
    counts = [[sum(types[n.j] == t for n in mine) for t in range(2)]
              for types, found in around(images, rcut) for mine in found]
    return np.max(counts, axis=0)


def test_slots_are_counted_with_room_to_spare(images, dataset):
    got = with_slots(ModelConfig(TYPE_MAP, RCUT, descriptor=LocalFrameConfig()), dataset).descriptor
    near, far = most(images, 0.75 * RCUT), most(images, RCUT)
    for t, element in enumerate(TYPE_MAP):
        assert got.sel_a[element] == math.ceil(1.1 * near[t])
        assert got.sel_a[element] + got.sel_r[element] == math.ceil(1.1 * far[t])


def test_slots_that_are_given_stay(dataset):
    given = LocalFrameConfig(sel_a={"H": 3, "O": 2}, sel_r={"H": 0, "O": 1})
    assert with_slots(ModelConfig(TYPE_MAP, RCUT, descriptor=given), dataset).descriptor == given
    half = with_slots(ModelConfig(TYPE_MAP, RCUT, descriptor=LocalFrameConfig(sel_a={"H": 99, "O": 2})), dataset)
    assert half.descriptor.sel_a == {"H": 99, "O": 2}
    assert half.descriptor.sel_r["H"] == 0
    smooth = ModelConfig(TYPE_MAP, RCUT)
    assert with_slots(smooth, dataset) is smooth


def test_normalisation_is_mean_and_spread_of_each_component(images, dataset):
    model = builders.random_model(kind="local_frame", rcut=RCUT)
    p = oracles.local_frame_of(model)
    descriptor = model.module.descriptor
    normalise_slots(descriptor, dataset)
    for t in range(2):
        rows = np.array([oracles.local_frame_descriptor(p, types, i, mine) for types, found in around(images, RCUT)
                         for i, mine in enumerate(found) if types[i] == t])
        np.testing.assert_allclose(descriptor.davg[t], rows.mean(0), atol=1e-12)
        np.testing.assert_allclose(descriptor.dstd[t], np.maximum(rows.std(0), SMALLEST_SPREAD), rtol=1e-9)


def test_neighbours_without_a_slot_are_counted(images, dataset):
    model = builders.random_model(kind="local_frame", rcut=RCUT, sel_a={"H": 2, "O": 1}, sel_r={"H": 1, "O": 0})
    everyone, without = 0, 0
    for types, found in around(images, RCUT):
        for mine in found:
            counts = [sum(types[n.j] == t for n in mine) for t in range(2)]
            everyone += len(mine)
            without += max(0, counts[0] - 3) + max(0, counts[1] - 1)
    assert left_out(model.module.descriptor, dataset) == (without, everyone)
    assert without > 0


def trio(r):
    """Three atoms, one of them so far from the first."""
    atoms = Atoms("OHH", [[0, 0, 0], [-1.2, 0.3, 0], [0.96 * r, 0.28 * r, 0]])
    atoms.calc = SinglePointCalculator(atoms, energy=0.0)
    return atoms


def test_force_jump_is_that_of_the_forces_across_the_cutoff():
    """Of an atom whose energy alone depends on the one that leaves: the change of all forces is that of one atom."""
    model = builders.random_model(kind="local_frame", rcut=RCUT)

    def jump(r):
        return force_jump(model.module, Dataset(read_frames([trio(r)])[0], TYPE_MAP, RCUT))

    inside, outside = (builders.predict(model, trio(r)).forces for r in (RCUT - 1e-9, RCUT + 1e-9))
    assert jump(RCUT - 0.3) == jump(RCUT + 1e-9) == 0.0
    # The atom at the edge loses its energy's dependence too, so either change is no larger than both together.
    total = np.linalg.norm(outside - inside, axis=1).max()
    assert 0.3 * total < jump(RCUT - 1e-9) < 3 * total
    assert force_jump(builders.random_model(rcut=RCUT).module,
                      Dataset(read_frames([trio(RCUT - 1e-9)])[0], TYPE_MAP, RCUT)) < 1e-7


@pytest.mark.parametrize("together", [1, 12, 1000])
def test_force_jump_is_the_largest_of_all_frames(images, monkeypatch, together):
    module = builders.random_model(kind="local_frame", rcut=RCUT).module
    frames = [*images, *(trio(r) for r in np.linspace(3.0, 4.5, 31))]
    alone = [force_jump(module, Dataset(read_frames([frame])[0], TYPE_MAP, RCUT)) for frame in frames]
    assert len(set(alone)) > 5
    monkeypatch.setattr("ase_deeppot.fitting.local_frame_statistics.JUMP_ATOMS", together)
    assert force_jump(module, Dataset(read_frames(frames)[0], TYPE_MAP, RCUT)) == pytest.approx(max(alone), rel=1e-12)


def test_a_run_leaves_a_model_that_every_tool_takes(train, alloys, tmp_path):
    result = train(alloys(10), alloys(3, seed=1), model=LOCAL)
    card = read_card(result.model)
    assert card.config.descriptor.kind == "local_frame"
    assert set(card.config.descriptor.sel_a) == {"Cu", "Au"}
    assert card.domain.force_jump > 0
    assert card.series == {}
    text = describe(card)
    assert "local_frame, rcut 4 A, slots Au " in text
    assert f"forces jump by up to {card.domain.force_jump:.2g} eV/A in its training data" in text
    atoms = alloys(1, seed=2)[0]
    atoms.calc = DeepPotCalculator(result.model)
    expected = builders.predict(load_model(result.model), atoms, eager=True)
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-10)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_plain_pytorch_runs_the_file(model_file, precision):
    path = model_file(kind="local_frame", precision=precision)
    model, atoms = builders.random_model(kind="local_frame", precision=precision), builders.random_atoms(7)
    types, pairs = builders.types_in(model, atoms), builders.pairs_in(model, atoms)
    given = tuple(map(torch.from_numpy, (types, pairs.i, types[pairs.j], pairs.vectors)))
    tolerance = {"rtol": 1e-10, "atol": 1e-10} if precision == "float64" else {"rtol": 1e-4, "atol": 1e-4}
    for got, expected in zip(torch.jit.load(str(path))(*given), model.module(*given), strict=True):
        torch.testing.assert_close(got, expected.detach(), **tolerance)


def test_a_run_that_was_interrupted_goes_on_with_the_same_numbers(train, alloys, monkeypatch):
    images, held_out = alloys(6), alloys(2, seed=1)
    whole = train(images, held_out, model=LOCAL, output="whole")
    from ase_deeppot.fitting import trainer

    step = trainer.Trainer.step

    def interrupted(self):
        if self.done == 7:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(images, held_out, model=LOCAL, output="parts")
    parts = train(images, held_out, model=LOCAL, output="parts", restart=True)
    builders.assert_same_weights(load_model(parts.model).module, load_model(whole.model).module)


def test_training_fits_energies_and_forces(alloys, tmp_path):
    """Those it was trained on: for others of a crystal, whose neighbours change their order, it needs many frames."""
    images = alloys(16, seed=5, gold=0.0)
    result = fit(images, images, output=str(tmp_path / "out"), quiet=True,
                 model={"rcut": 4.0, "descriptor": {"kind": "local_frame"}, "fitting_net": {"neuron": (24, 12)}},
                 learning_rate={"start": 1e-2, "stop": 3e-4}, loss={"start_pref_e": 100.0, "start_pref_f": 10.0},
                 training={"steps": 400, "batch_atoms": 24, "validate_every": 400, "checkpoint_every": 400},
                 monitor={"plot": False, "report": False})
    energy, force, _ = result.validation
    forces = np.concatenate([atoms.get_forces() for atoms in images])
    energies = np.array([atoms.get_potential_energy() / len(atoms) for atoms in images])
    assert force.rmse < 0.4 * np.sqrt(np.mean(forces**2))
    assert energy.rmse < 0.3 * energies.std()


def test_too_few_slots_are_told(train, alloys):
    model = LOCAL | {"descriptor": {"kind": "local_frame", "sel_a": {"Cu": 2, "Au": 2}, "sel_r": {"Cu": 1, "Au": 0}}}
    result = train(alloys(4), model=model, training={"steps": 1})
    log = (result.model.parent / "train.log").read_text()
    assert "neighbours have no slot: the farthest are left out; raise descriptor.sel_r" in log
    assert "slots Cu 2, Au 2 with all coordinates, Cu 1, Au 0 with 1/R" in log


def test_alcohols_by_default(train):
    result = train(f"{find('examples/data/alcohols.db')}@split=train", model={"descriptor": {"kind": "local_frame"},
                   "precision": "float32", "fitting_net": {}}, training={"steps": 3})
    assert read_card(result.model).config.fitting_net == LocalFrameConfig.FITTING_NET


class TestConfig:
    def parse(self, **model):
        from ase_deeppot.config import parse

        return parse(FittingConfig, {"model": {"type_map": ["O", "H"], **model}}).model

    def test_the_fitting_net_follows_the_descriptor(self):
        local = self.parse(descriptor={"kind": "local_frame"})
        assert local.fitting_net.neuron == (240, 120, 60, 30, 10)
        assert (local.fitting_net.resnet_dt, local.fitting_net.shortcut) == (False, False)
        assert self.parse().fitting_net.neuron == (240, 240, 240)
        assert ModelConfig(descriptor=LocalFrameConfig()) == ModelConfig(descriptor=LocalFrameConfig(),
                                                                         fitting_net=LocalFrameConfig.FITTING_NET)
        changed = self.parse(descriptor={"kind": "local_frame"}, fitting_net={"neuron": [5]}).fitting_net
        assert changed == dataclasses.replace(LocalFrameConfig.FITTING_NET, neuron=(5,))

    def test_rules_are_read_from_tables(self):
        rule = {"O": [["H", 0], ["H", 1]], "H": [["O", 0], ["H", 0]]}
        got = self.parse(descriptor={"kind": "local_frame", "axis_rule": rule}).descriptor
        assert got.axis_rule == {"O": (("H", 0), ("H", 1)), "H": (("O", 0), ("H", 0))}

    @pytest.mark.parametrize(("descriptor", "message"), [
        ({"kind": "locale"},
         "expected one of 'smooth', 'radial', 'local_frame', 'hybrid' for 'model.descriptor.kind', got 'locale'"),
        ({"kind": "local_frame", "sela": {}}, r"unknown option 'sela' in \[model.descriptor\]; did you mean 'sel_a'"),
        ({"kind": "local_frame", "neuron": [3]}, "unknown option 'neuron'"),
        ({"sel_a": {"O": 1}}, "unknown option 'sel_a'"),
        ({"kind": "local_frame", "sel_a": {"O": 1}}, "expected an entry in descriptor.sel_a for each of O, H, got O"),
        ({"kind": "local_frame", "sel_a": {"O": 1, "H": -2}}, "expected numbers >= 0 in descriptor.sel_a"),
        ({"kind": "local_frame", "sel_r": {"O": 1.5, "H": 2}}, "expected a whole number for"),
        ({"kind": "local_frame", "axis_rule": {"O": [["H", 0]]}}, "axis_rule.O"),
        ({"kind": "local_frame", "axis_rule": {"O": [["H", 0], ["N", 1]]}}, "expected elements of the model .O, H."),
        ({"kind": "local_frame", "axis_rule": {"O": [["H", 0], ["H", 0]]}}, "expected two different axis atoms"),
        ({"kind": "local_frame", "axis_rule": {"O": [["H", 0], ["H", -1]]}}, "expected ranks >= 0"),
        ("local_frame", "expected a table"),
    ])
    def test_refusals(self, descriptor, message):
        with pytest.raises(ConfigError, match=message):
            self.parse(descriptor=descriptor)
