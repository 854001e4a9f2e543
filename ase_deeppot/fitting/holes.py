"""Where polynomials fall below the nets whose place they take: found by dynamics, and taught what the nets say there.

Far from all data a polynomial goes where it will, and dynamics finds the ways down. Nets of bounded activations do not
go far, and it can be told from their difference. Dynamics on

    E = E_nets + LARGER (E_polynomial - E_nets)

finds sooner what that of the polynomial would. It is the adversarial sampling of D. Schwalbe-Koda, A. R. Tan, R.
Gomez-Bombarelli, Nat. Commun. 12, 5104, 2021, with nets in place of a committee.
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes

from ase_deeppot.calculator import DeepPotCalculator
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.least_squares import spread
from ase_deeppot.fitting.metrics import predict, running
from ase_deeppot.fitting.ridge import Regression, Solution
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.archive import Model, save_model
from ase_deeppot.sampling import SamplingConfig
from ase_deeppot.sampling.dynamics import draw, sample
from ase_deeppot.watch import DomainWarning

LARGER = 3.0  # than it is, the difference that atoms feel
HOTTER = 1.5  # than the data, dynamics
COLDEST = 300.0  # K, for data that are relaxed structures, or of which there is no telling
FAR = 0.1  # eV an atom, between polynomial and nets, where a run ends
TIME, INTERVAL = 500.0, 25.0  # fs, of a run and between its structures
LOOKS = 4  # at most; after all but the last the polynomial is taught
SHARE = 0.25  # of the number of training frames, structures that it is taught at a time, those where they are farthest
WORSE = 1.05  # than before, at most, the loss on frames set aside: nets of few steps have little to teach
WEIGHT = 0.02  # of the forces of one of these, beside a training frame: the nets guess as well
FRAMES_OF_TEMPERATURE, SHIFT = 100, 1e-3  # that it is taken from, and by how much coordinates are changed, A


class Enlarged(Calculator):
    """The energy of one calculator, and ``LARGER`` times what another one differs by."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, one: Calculator, other: Calculator) -> None:
        super().__init__()
        self._both = one, other

    def calculate(self, atoms: Atoms | None = None, properties: Any = ("energy",),
                  system_changes: Any = all_changes) -> None:
        """As ASE asks for it.

        Raises
        ------
        CalculationFailed
            If they differ by more than ``FAR`` an atom.
        """
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None
        one, other = ({name: calculator.get_property(name, atoms) for name in self.implemented_properties}
                      for calculator in self._both)
        if not abs(other["energy"] - one["energy"]) < FAR * len(atoms):
            raise CalculationFailed(f"expected energies that differ by less than {FAR} eV an atom")
        self.results = {name: one[name] + LARGER * (other[name] - one[name]) for name in one}


class Look(NamedTuple):
    """What dynamics has found."""

    structures: Dataset | None  # of the runs that ended early, with forces of the nets; None if there are none
    ended: int  # runs, early
    runs: int


def taught(asked: Regression, found: Solution, made: Callable[[Solution], Model], nets: Model, train: Dataset,
           runs: int, log: Callable[[str], None]) -> Model:
    """The polynomial of a solution once dynamics finds no way down, or the nets have no more to teach.

    Parameters
    ----------
    asked : Regression
        Takes the nets' answers in.
    found : Solution
        Of it.
    made : callable
        A model from a solution.
    nets : Model
    train : Dataset
        Whose structures dynamics starts from.
    runs : int
        Of dynamics, at each look.
    log : callable
        Told what each look has found.

    Returns
    -------
    Model
        Its card says what the last look has found.
    """
    now, kelvin = made(found), max(COLDEST, HOTTER * temperature(nets, train))
    for k in range(1, LOOKS + 1):
        saw = look(nets, now, train, SamplingConfig(kelvin, runs * round(TIME / INTERVAL), TIME, INTERVAL, seed=k))
        log(f"dynamics at {kelvin:.0f} K, look {k} of {LOOKS}: {saw.ended} of {saw.runs} runs left the nets behind")
        if not saw.ended or saw.structures is None or k == LOOKS:
            break
        asked.add(saw.structures, np.arange(len(saw.structures)))
        later = asked.solve(found.power)
        if not later.left <= WORSE * found.left:
            log(f"what the nets say there makes errors larger, {later.left / found.left:.2f} times: it is left out")
            break
        now = made(later)
    record = {"dynamics": {"temperature": round(kelvin), "runs": saw.runs, "ended": saw.ended}}
    return now._replace(card=replace(now.card, training=now.card.training | record))


def look(nets: Model, polynomial: Model, train: Dataset, config: SamplingConfig) -> Look:
    """Dynamics from structures of the data."""
    starts = [train.frame(k).structure for k in draw(len(train), config)]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", DomainWarning)  # which it is for
        one, other = (_calculator(model, Path(folder, name)) for model, name in ((nets, "nets"), (polynomial, "other")))
        found = list(sample(starts, one, config, Enlarged(one, other)))
    ended = [trajectory.frames for trajectory in found if not trajectory.complete]
    frames = [atoms for run in ended for atoms in run]
    return Look(_farthest(polynomial, frames, train) if frames else None, len(ended), len(starts))


def _calculator(model: Model, path: Path) -> DeepPotCalculator:
    save_model(path, model)
    return DeepPotCalculator(path)


def _farthest(polynomial: Model, images: list[Atoms], train: Dataset) -> Dataset:
    """Those of the structures where the polynomial's forces are farthest from the labels."""
    frames, types = read_frames(images)[0], polynomial.card.type_map
    predicted = predict([polynomial], Dataset(frames, types, train.rcut))
    worst = np.maximum.reduceat(np.abs(predicted.forces - frames.forces).max(1), frames.offsets[:-1])
    chosen = np.argsort(-worst, kind="stable")[: max(1, round(SHARE * len(train)))]
    kept = frames.select(np.sort(chosen))
    kept.energies[:], kept.virials[:] = np.nan, np.nan  # in which nets are wrong by more, for all that is far
    dataset = Dataset(kept, types, train.rcut)
    dataset.weights[:] = WEIGHT
    return dataset


def temperature(model: Model, dataset: Dataset) -> float:
    """Of which the structures of a data set are, K: ``kT = <F . F> / <-div F>``.

    The configurational temperature (H. H. Rugh, Phys. Rev. Lett. 78, 772, 1997), with the divergence by finite
    differences along random signs. Zero where the forces do not tell.
    """
    ready, rng, squares, curvature = running([model]), np.random.default_rng(0), 0.0, 0.0
    for k in spread(dataset, FRAMES_OF_TEMPERATURE):
        structure, types = dataset.frame(k).structure, dataset.types_of_frame(k)
        signs = rng.choice([-1.0, 1.0], structure.positions.shape)
        behind, here, ahead = (
            ready.evaluate(types, neighbor_pairs(structure.positions + shift * signs, structure.cell, structure.pbc,
                                                 dataset.rcut))[0].forces for shift in (-SHIFT, 0.0, SHIFT))
        squares += float(np.square(here).sum())
        curvature += float((signs * (behind - ahead)).sum()) / (2.0 * SHIFT)
    return squares / curvature / units.kB if curvature > 0.0 else 0.0
