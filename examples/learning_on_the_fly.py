"""Training data from dynamics: a committee runs, and what its models disagree about is labelled and trained on.

The loop of Zhang, Lin, Wang, Car, E (Phys. Rev. Materials 3, 023804, 2019), in a few rounds: train models of three
seeds, run molecular dynamics of copper with their mean, hotter each time, and label structures in which forces on an
atom are LOW to HIGH eV/A apart; above, the dynamics has gone where nothing can be learnt, and is stopped. EMT labels,
in the place of a first-principles code. All that takes some two minutes, and leaves models in learning/.
"""

from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from ase_deeppot import DeepPotCalculator
from ase_deeppot.fitting import fit

LOW, HIGH = 0.1, 1.0  # eV/A
TEMPERATURES = 300.0, 900.0, 1500.0, 1500.0  # K, of the rounds
MODELS = 3
DYNAMICS = 500  # steps of 2 fs, of which every tenth is looked at
TRAINING = 400  # steps
MOST = 20  # structures labelled in a round
OUTPUT = Path("learning")


def labelled(atoms: Atoms) -> Atoms:
    """A copy with the energy and forces that a first-principles code would give."""
    frame = atoms.copy()
    frame.calc = EMT()
    frame.get_forces()
    return frame


def first_frames(count: int) -> list[Atoms]:
    """Crystals that are hardly out of shape: all that is known at the start."""
    frames = []
    for seed in range(count):
        atoms = bulk("Cu", cubic=True) * (2, 2, 2)
        atoms.rattle(0.1, seed=seed)
        frames.append(labelled(atoms))
    return frames


def committee(frames: list[Atoms], folder: Path) -> DeepPotCalculator:
    """Models of several seeds, trained on the same frames."""
    results = [fit(frames, output=str(folder / f"seed{seed}"), quiet=True,
                   model={"rcut": 4.5, "precision": "float32", "descriptor": {"neuron": [8, 16], "axis_neuron": 4},
                          "fitting_net": {"neuron": [24, 24]}},
                   training={"seed": seed, "steps": TRAINING, "validate_every": TRAINING},
                   monitor={"plot": False, "report": False}) for seed in range(1, MODELS + 1)]
    return DeepPotCalculator([result.model for result in results])


def explored(calculator: DeepPotCalculator, temperature: float) -> tuple[list[Atoms], list[float]]:
    """Structures that the models disagree about, and how far they are apart in all that was seen, eV/A."""
    atoms = bulk("Cu", cubic=True) * (2, 2, 2)
    atoms.calc = calculator
    thermalize_momenta(atoms, temperature_K=temperature, rng=np.random.default_rng(0))
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=temperature, friction=0.02 / units.fs,
                        fixcm=False, rng=np.random.default_rng(1))
    found, apart = [], []
    for _ in range(DYNAMICS // 10):
        dynamics.run(10)
        apart.append(float(calculator.deviation.forces.max()))
        if apart[-1] > HIGH:
            break
        if apart[-1] > LOW:
            found.append(atoms.copy())
    return found[:: max(1, len(found) // MOST)][:MOST], apart


def error(calculator: DeepPotCalculator, frames: list[Atoms]) -> float:
    """RMS error of the mean's forces, eV/A."""
    return float(np.sqrt(np.mean([(calculator.get_forces(frame) - frame.get_forces()) ** 2 for frame in frames])))


def main() -> None:
    """Train, explore, label; again, with what was found."""
    frames = first_frames(10)
    for number, temperature in enumerate(TEMPERATURES, start=1):
        calculator = committee(frames, OUTPUT / f"round{number}")
        found, apart = explored(calculator, temperature)
        new = [labelled(atoms) for atoms in found]
        told = f", where the forces' error is {error(calculator, new):.3f} eV/A" if new else ""
        print(f"round {number}: {len(frames)} frames; {temperature:.0f} K for {20 * len(apart)} fs, models up to "
              f"{max(apart):.2f} eV/A apart; {len(new)} structures to label{told}", flush=True)
        frames += new


if __name__ == "__main__":
    main()
