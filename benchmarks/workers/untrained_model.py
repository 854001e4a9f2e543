"""Make a DeepPot-SE or DPMD water model of the usual shape, untrained but with the statistics of water. Prints JSON.

One step of training on rattled copies of the structure, labelled with zeros: the weights stay random, and everything
that a model takes from its data (normalisation, domain) is there.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from ase_deeppot.fitting import fit

SHAPE = {"type_map": ("O", "H"), "rcut": 6.0}
KINDS = {
    "smooth": {"descriptor": {"rcut_smth": 0.5, "neuron": (25, 50, 100), "axis_neuron": 16, "l_max": 1},
               "fitting_net": {"neuron": (240, 240, 240)}},
    "local_frame": {"descriptor": {"kind": "local_frame", "sel_a": {"O": 16, "H": 32}, "sel_r": {"O": 30, "H": 60}},
                    "fitting_net": {"neuron": (240, 120, 60, 30, 10)}},
}
RATTLE = 0.05  # A
FRAMES = 5


def labelled(atoms: Atoms, seed: int) -> Atoms:
    """A rattled copy, with zeros for labels."""
    copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.rattle(RATTLE, seed=seed)
    copy.calc = SinglePointCalculator(copy, energy=0.0, forces=np.zeros((len(copy), 3)))
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output")
    parser.add_argument("structure")
    parser.add_argument("precision", choices=("float64", "float32"))
    parser.add_argument("kind", choices=tuple(KINDS), default="smooth", nargs="?")
    options = parser.parse_args()
    water = read(options.structure)
    frames = [labelled(water, seed) for seed in range(FRAMES)]
    model = SHAPE | KINDS[options.kind] | {"precision": options.precision}
    with tempfile.TemporaryDirectory() as folder:
        result = fit(frames, output=str(Path(folder) / "fit"), quiet=True, model=model,
                     data={"validation_fraction": 0.0}, training={"steps": 1, "batch_size": 1})
        shutil.copy(result.model, options.output)
    print(json.dumps({"model": options.output}))


if __name__ == "__main__":
    main()
