"""The training input: what is refused and how, and where its paths lead."""

import dataclasses
from pathlib import Path

import pytest

from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting import FittingConfig, read_config
from ase_deeppot.fitting.config import DataConfig, TrainingConfig
from ase_deeppot.resources import find


def write(folder: Path, text: str) -> Path:
    path = folder / "input.toml"
    path.write_text(text)
    return path


def error_of(path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")


def test_every_table_is_read(tmp_path):
    config = read_config(write(tmp_path, """
        output = "run"
        [model]
        type_map = ["O", "H"]
        precision = "float32"
        descriptor.neuron = [4, 8]
        descriptor.axis_neuron = 2
        fitting_net = { neuron = [7], activation = "gelu" }
        [data]
        train = ["/abs/a.extxyz"]
        energy_bias = "isolated_atoms"
        keys = { energy = "REF_energy", virial = "W", virial_sign = "+dE/dstrain" }
        [loss]
        start_pref_e = 2
        [learning_rate]
        start = 0.5
        [training]
        steps = 7
    """))
    assert config.output == "run"
    assert (config.model.type_map, config.model.precision) == (("O", "H"), "float32")
    assert (config.model.descriptor.neuron, config.model.fitting_net.activation) == ((4, 8), "gelu")
    assert config.data.train == ("/abs/a.extxyz",)
    assert (config.data.keys.virial_sign, config.data.keys.forces) == ("+dE/dstrain", "forces")
    assert (config.loss.start_pref_e, config.loss.limit_pref_e) == (2.0, 400.0)
    assert (config.learning_rate.start, config.training.steps) == (0.5, 7)


def test_an_empty_input_has_defaults_throughout(tmp_path):
    assert read_config(write(tmp_path, "")) == FittingConfig()


def test_the_bundled_input_can_be_read():
    assert read_config(find("models/water.toml")).model.type_map == ("O", "H")


def test_data_count_from_the_input_and_output_from_here(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    path = write(tmp_path / "sub", 'output = "run"\n[data]\n'
                                   'train = ["a.db@natoms=3", "/abs/*.xyz", "~/b.xyz", "../c/*.traj"]\n'
                                   'validation = ["d.xyz"]')
    config = read_config(path)
    assert config.output == "run"
    assert config.data.train == (f"{tmp_path}/sub/a.db@natoms=3", "/abs/*.xyz", "~/b.xyz",
                                 f"{tmp_path}/sub/../c/*.traj")
    assert config.data.validation == (f"{tmp_path}/sub/d.xyz",)
    monkeypatch.chdir(path.parent)
    assert read_config("input.toml").data.validation == ("d.xyz",)


def test_a_folder_with_brackets_is_no_wildcard(tmp_path, alloys):
    from ase.io import write as write_images

    from ase_deeppot.fitting import read_frames
    (tmp_path / "run[1]").mkdir()
    write_images(tmp_path / "run[1]" / "a.extxyz", alloys(2))
    config = read_config(write(tmp_path / "run[1]", '[data]\ntrain = ["a.extxyz", "a.extxyz@0", "*.extxyz"]'))
    assert read_frames(config.data.train)[0].count == 5


@pytest.mark.parametrize(("text", "message"), [
    ("steps = 7", "unknown option 'steps' in [the input]; "),
    ("[trainning]\nsteps = 7", "unknown option 'trainning' in [the input]; did you mean 'training'?"),
    ("[training]\nstep = 7", "unknown option 'step' in [training]; did you mean 'steps'?"),
    ("[model.descriptor]\nneurons = [1]", "unknown option 'neurons' in [model.descriptor]; did you mean 'neuron'?"),
    ("[data.keys]\nenergi = 'E'", "unknown option 'energi' in [data.keys]; did you mean 'energy'?"),
    ("[data]\ntrain = 'a.xyz'", "expected a list for 'data.train', got 'a.xyz'"),
    ("[data]\ntrain = ['a.xyz', 3]", "expected a string for 'data.train[1]', got 3"),
    ("[training]\nsteps = 7.5", "expected a whole number for 'training.steps', got 7.5"),
    ("[training]\nsteps = true", "expected a whole number for 'training.steps', got True"),
    ("[training]\nsteps = '7'", "expected a whole number for 'training.steps', got '7'"),
    ("training = 7", "expected a table for [training], got 7"),
    ("[model]\nprecision = 'float16'",
     "expected one of 'float64', 'float32' for 'model.precision', got 'float16'"),
    ("[model]\nrcut = nan", "expected 0 <= rcut_smth < rcut, got rcut_smth = 0.5 and rcut = nan"),
    ("[model]\ntype_map = ['Cu', 'Xx9']", "expected chemical symbols in type_map, or names like C(CHH), got ['Xx9']"),
    ("[data.keys]\nvirial = 'W'", "expected virial_sign = "),
    ("[training]\nsteps = 0", "expected training.steps > 0, got 0"),
    ("[training]\nbatch_size = -1", "expected training.batch_size >= 0, got -1"),
    ("[training]\nbatch_atoms = 0", "expected training.batch_atoms > 0, got 0"),
    ("[training]\nseed = -1", "expected training.seed >= 0, got -1"),
    ("[training]\nvalidate_every = 0", "expected training.validate_every > 0, got 0"),
    ("[learning_rate]\nstart = 1e-9", "expected learning_rate.stop <= start, got 2e-05 and 1e-09"),
    ("[learning_rate]\nstart = inf", "expected 0 < learning_rate.start < inf, got inf"),
    ("[learning_rate]\nstop = 0.0", "expected learning_rate.stop > 0, got 0.0"),
    ("[data]\nvalidation_fraction = 1.0", "expected 0 <= data.validation_fraction < 1, got 1.0"),
    ("[data]\nmemory = nan", "expected data.memory >= 0, got nan"),
    ("[loss]\nlimit_pref_f = -1", "expected 0 <= loss.limit_pref_f < inf, got -1"),
    ("[loss]\nlimit_pref_f = nan", "expected 0 <= loss.limit_pref_f < inf, got nan"),
    ("[loss]\nspecies_weights = { H = -1 }", "expected finite weights >= 0 in loss.species_weights, got H = -1"),
    ("[loss]\nspecies_weights = { H = 'x' }", "expected a number for 'loss.species_weights.H', got 'x'"),
    ("[loss]\nspecies_weights = { Xx9 = 1 }",
     "expected chemical symbols, or names like C(CHH), in loss.species_weights, got ['Xx9']"),
    ("[data]\nsource_weights = { a = inf }", "expected finite weights >= 0 in data.source_weights, got a = inf"),
    ("[training\nsteps = 7", "expected TOML, got Expected ']' at the end of a table declaration (at line 1, "),
    ("[training]\nsteps = 7\nsteps = 8", "expected TOML, got Cannot overwrite a value"),
])
def test_what_is_wrong_is_named(tmp_path, text, message):
    assert error_of(write(tmp_path, text)).startswith(message)


def test_files_that_are_no_input(tmp_path):
    assert error_of(tmp_path / "none.toml") == f"cannot read {tmp_path}/none.toml: No such file or directory"
    assert error_of(tmp_path) == f"cannot read {tmp_path}: Is a directory"
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert error_of(tmp_path / "binary").startswith("expected TOML, got 'utf-8' codec can't decode byte 0xff")


def test_rules_hold_for_configs_made_in_python():
    with pytest.raises(ConfigError, match=r"expected training.steps > 0, got -3"):
        FittingConfig(training=TrainingConfig(steps=-3))
    config = FittingConfig(data=DataConfig(memory=float("inf")))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.output = "elsewhere"
