"""Training inputs of a moment, and ``deeppot`` as tests call it."""

from pathlib import Path

from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_deeppot import cli
from ase_deeppot.resources import find

INPUT = """
output = "out"

[model]
rcut = 4.0
precision = "{precision}"
descriptor = {{ neuron = [3, 6], axis_neuron = 2 }}
fitting_net = {{ neuron = [6, 6] }}

[data]
train = ["{alcohols}@split=train"]
validation = ["{alcohols}@natoms=3,split=test"]
memory = {memory}

[learning_rate]
optimizer = "{optimizer}"
start = {rate}

[training]
steps = {steps}
batch_size = {batch_size}
batch_atoms = 16
validate_every = {validate_every}
checkpoint_every = {checkpoint_every}
patience = {patience}
fit_output_layers = {fit_output_layers}
device = "{device}"

[monitor]
plot = false
report = false
"""
DEFAULTS = {"precision": "float32", "memory": 2.0, "optimizer": "muon", "rate": 5e-3, "steps": 25, "batch_size": 0,
            "validate_every": 20, "checkpoint_every": 7, "patience": 0, "fit_output_layers": "true", "device": "cpu"}
WHOLE = 120  # steps of the run that tests of several commands share


def written(folder: Path, **changes: object) -> Path:
    """The folder, made if need be, with an ``input.toml`` for some steps on the bundled alcohols."""
    unknown = changes.keys() - DEFAULTS.keys()
    assert not unknown, unknown
    folder.mkdir(exist_ok=True)
    text = INPUT.format(alcohols=find("examples/data/alcohols.db"), **(DEFAULTS | changes))
    (folder / "input.toml").write_text(text)
    return folder


def deeppot(capsys, *arguments):
    """Exit status and what was printed."""
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def error_of(capsys, *arguments) -> str:
    status, _, err = deeppot(capsys, *arguments)
    assert status == 2
    assert err.startswith("deeppot: ")
    assert err.count("\n") == 1
    return err[len("deeppot: "):-1]


def table(out):
    """Of the printed table: label count, RMSE and MAE of each property."""
    rows = {}
    for line in out.splitlines():
        name, _, rest = line.partition(", m")
        if name in ("energy", "forces", "stress"):
            _, rmse, mae, count = rest.split(maxsplit=3)
            rows[name] = (count, rmse, mae)
    return rows


def emt(atoms):
    """Atoms with EMT's results and no calculator that could compute others."""
    atoms.calc = EMT()
    atoms.get_stress()
    values = {key: atoms.calc.results[key] for key in ("energy", "forces", "stress")}
    atoms.calc = SinglePointCalculator(atoms, **values)
    return atoms
