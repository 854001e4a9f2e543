"""What a user waits for before the first energy, beyond the import of torch and ASE. Prints JSON, seconds."""

import argparse
import json
from statistics import median
from time import perf_counter

import numpy as np
import torch  # noqa: F401 its import is not what is timed
from ase.calculators.calculator import Calculator  # noqa: F401
from ase.io import read

LATER_CALLS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("structure")
    parser.add_argument("dtype", choices=("float64", "float32"))
    options = parser.parse_args()
    atoms = read(options.structure)
    start = perf_counter()
    import ase_deeppot

    imported = perf_counter()
    atoms.calc = ase_deeppot.DeepPotCalculator(options.model, dtype=options.dtype)
    loaded = perf_counter()
    atoms.get_potential_energy()
    first = perf_counter()
    rng = np.random.default_rng(0)
    calls = [first]
    for _ in range(1 + LATER_CALLS):
        atoms.positions += rng.normal(scale=1e-3, size=atoms.positions.shape)
        atoms.get_potential_energy()
        calls.append(perf_counter())
    later = np.diff(calls)
    print(json.dumps({"import": imported - start, "load": loaded - imported, "first": first - loaded,
                      "total": first - start, "second": later[0], "later": median(later[1:])}))


if __name__ == "__main__":
    main()
