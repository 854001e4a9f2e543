"""Structures from molecular dynamics with labels of models: small nets learn from them what large models know.

A model trained on few frames fills in what they leave open. Where several agree, they have filled it in alike, and
another model may be trained on as many of their answers as it needs (C. Bucila, R. Caruana, A. Niculescu-Mizil, KDD
2006; G. Hinton, O. Vinyals, J. Dean, arXiv:1503.02531).
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import BaseCalculator, CalculationFailed, InputError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.md.langevin import Langevin

from ase_deeppot.calculator import DeepPotCalculator
from ase_deeppot.errors import ConfigError
from ase_deeppot.results import DEVIATION
from ase_deeppot.sampling.config import SamplingConfig
from ase_deeppot.structures import Structure, from_atoms


class Trajectory(NamedTuple):
    """What was taken of the dynamics from one start."""

    frames: list[Atoms]  # with energy, forces and, in a cell of three vectors, stress
    complete: bool  # or ended where the models were apart


def draw(count: int, config: SamplingConfig) -> np.ndarray:
    """Which of ``count`` structures to start from: each once before one is taken again, [trajectories]."""
    rng, n = np.random.default_rng(config.seed), -(-config.structures // config.from_each)
    return np.concatenate([rng.permutation(count) for _ in range(-(-n // count))])[:n]


def sample(starts: Iterable[Atoms | Structure], labels: BaseCalculator, config: SamplingConfig,
           moving: BaseCalculator | None = None) -> Iterator[Trajectory]:
    """Langevin dynamics from each structure, and what a calculator says of structures on the way.

    Parameters
    ----------
    starts : iterable of Atoms
        Velocities are drawn anew, cells stay as they are; constraints and labels do not count.
    labels : Calculator
        Gives energies, forces and stresses. A :class:`DeepPotCalculator` of several models gives their mean, and knows
        where they err; any other, of DFT or of another kind of model, is taken at its word.
    config : SamplingConfig
    moving : Calculator, optional
        Gives the forces that atoms move by, where a faster model does; ``labels`` if none.

    Yields
    ------
    Trajectory
        One for each start, cut where ``config.apart`` is passed, a calculation fails, or a molecule reacts whose
        bonds the models count on. With several models ``atoms.arrays["forces_deviation"]`` tells how far they are
        apart.

    Raises
    ------
    ConfigError
        If a model takes frame or atom parameters, which dynamics does not have.
    InputError
        If a structure to start from has other species than the models.
    """
    for calculator in (labels, moving):
        if isinstance(calculator, DeepPotCalculator) and calculator.card.config.fitting_net.parameters:
            raise ConfigError("expected models without frame or atom parameters, got one that takes some")
    for number, start in enumerate(starts):
        rng = np.random.default_rng([config.seed, number])
        atoms = Atoms(start.numbers, start.positions, cell=start.cell, pbc=start.pbc, calculator=moving or labels)
        for calculator in (labels, moving):
            if isinstance(calculator, DeepPotCalculator):
                calculator.get_potential_energy(atoms)  # refuses what is not for the model
        yield _trajectory(atoms, labels, config, rng)


def _trajectory(atoms: Atoms, labels: BaseCalculator, config: SamplingConfig,
                rng: np.random.Generator) -> Trajectory:
    thermal = np.sqrt(atoms.get_masses()[:, None] * units.kB * config.temperature)
    atoms.set_momenta(thermal * rng.standard_normal(atoms.positions.shape))
    dynamics = Langevin(atoms, config.timestep * units.fs, temperature_K=config.temperature,
                        friction=config.friction / units.fs, fixcm=False, rng=rng)
    frames: list[Atoms] = []
    for _ in range(config.from_each):
        try:
            dynamics.run(config.steps)
            frame = _labelled(atoms, labels)
        except (CalculationFailed, InputError):  # atoms flew apart or met, or a molecule of bonded species reacted
            return Trajectory(frames, complete=False)
        if DEVIATION in frame.arrays and not frame.arrays[DEVIATION].max() <= config.apart:
            return Trajectory(frames, complete=False)
        frames.append(frame)
    return Trajectory(frames, complete=True)


def _labelled(atoms: Atoms, labels: BaseCalculator) -> Atoms:
    """A copy with what the calculator says of it, and nothing else."""
    frame = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    names = ["energy", "forces"]
    if from_atoms(frame).volume > 0.0 and "stress" in labels.implemented_properties:
        names.append("stress")
    frame.calc = SinglePointCalculator(frame, **{name: labels.get_property(name, frame) for name in names})
    deviation = getattr(labels, "deviation", None)
    if deviation is not None:
        frame.arrays[DEVIATION] = deviation.forces.copy()
    return frame
