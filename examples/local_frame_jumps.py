"""Where a local-frame model jumps: energy and force while the OH group of ethanol turns and a C-H bond stretches.

Trains a DPMD and a DeepPot-SE model on the bundled alcohols (about two minutes), leads the molecule through both of
them, and draws what they say. On the way neighbours cross the cutoff and change their order, and other atoms become the
axes of local frames: DPMD jumps each time, DeepPot-SE never does.
"""

import tempfile
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.db import connect
from ase.neighborlist import neighbor_list

from ase_deeppot import DeepPotCalculator, load_model
from ase_deeppot.fitting import fit
from ase_deeppot.fitting.plots import figure, save
from ase_deeppot.neighbors import neighbor_pairs
from ase_deeppot.potential.descriptor import Structures
from ase_deeppot.resources import find
from ase_deeppot.structures import types_of

ALCOHOLS = find("examples/data/alcohols.db")
RCUT = 4.0  # A
TRAINING = 2500  # steps
ANGLES = np.linspace(0.0, 180.0, 1801)  # degrees
MODELS = {"DPMD": {"kind": "local_frame"},
          "DeepPot-SE": {"kind": "smooth", "l_max": 1, "neuron": (10, 20), "axis_neuron": 6}}
COLOURS = {"cutoff": "C3", "frame": "C0", "order": "0.6"}


def train(descriptor: dict, folder: Path) -> Path:
    """A small model of the bundled alcohols."""
    result = fit(f"{ALCOHOLS}@split=train", f"{ALCOHOLS}@split=test", output=str(folder),
                 model={"rcut": RCUT, "precision": "float64", "descriptor": descriptor,
                        "fitting_net": {"neuron": (60, 30)}},
                 learning_rate={"start": 5e-3, "stop": 1e-4},
                 training={"steps": TRAINING, "validate_every": min(500, TRAINING)},
                 monitor={"plot": False, "report": False})
    return result.model


def turned(atoms: Atoms) -> tuple[list[Atoms], int]:
    """The molecule at each angle of its OH group, and the hydrogen of that group.

    A C-H bond of the methyl group goes from the shortest of the three to the longest at the same time.
    """
    bonds = list(zip(*neighbor_list("ij", atoms, 1.6), strict=True))
    oxygen = next(k for k, symbol in enumerate(atoms.symbols) if symbol == "O")
    near = {atoms[j].symbol: j for i, j in bonds if i == oxygen}
    methyl = next(k for k, symbol in enumerate(atoms.symbols) if symbol == "C" and k != near["C"])
    hydrogens = [j for i, j in bonds if i == methyl and atoms[j].symbol == "H"]
    lengths = atoms.get_distances(methyl, hydrogens)
    path = []
    for angle, length in zip(ANGLES, np.linspace(lengths.min() - 0.02, lengths.max() + 0.02, len(ANGLES)), strict=True):
        frame = atoms.copy()
        hydroxyl = frame[[near["H"]]]
        hydroxyl.rotate(angle, atoms.positions[near["C"]] - atoms.positions[oxygen], center=atoms.positions[oxygen])
        frame.positions[near["H"]] = hydroxyl.positions[0]
        frame.set_distance(methyl, hydrogens[0], length, fix=0)
        path.append(frame)
    return path, near["H"]


def events(path: list[Atoms], model: Path) -> dict[str, list[float]]:
    """Angles at which the local-frame model's picture of some atom changes, by what changes."""
    loaded = load_model(model)
    geometry, found = loaded.module.descriptor.geometry(), {name: [] for name in COLOURS}
    arrangements = []
    for atoms in path:
        pairs = neighbor_pairs(atoms.positions, atoms.cell[:], atoms.pbc, RCUT)
        types = types_of(atoms.numbers, loaded.card.type_map)
        order = geometry.environment(Structures(*map(torch.from_numpy, (types, *pairs[:3])))).order
        # By neighbour instead of by pair, for comparison with the next structure.
        first = np.searchsorted(pairs.i, np.arange(len(atoms)))[:, None]
        j = np.append(pairs.j, -1)[np.where(order >= 0, first + order.numpy(), len(pairs.j))]
        arrangements.append((len(pairs.i), j[:, -2:], j[:, :-2]))
    for angle, (before, after) in zip(ANGLES[1:], pairwise(arrangements), strict=True):
        for name, one, other in zip(("cutoff", "frame", "order"), before, after, strict=True):
            if not np.array_equal(one, other):
                found[name].append(angle)
                break
    return found


def along(path: list[Atoms], mover: int, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """Energy, meV, from its mean, and the force on the turning hydrogen, eV/A, at each angle."""
    calc = DeepPotCalculator(model)
    energies, forces = [], []
    for atoms in path:
        atoms.calc = calc
        energies.append(atoms.get_potential_energy())
        forces.append(np.linalg.norm(atoms.get_forces()[mover]))
    return 1e3 * (np.array(energies) - np.mean(energies)), np.array(forces)


def draw(curves: dict[str, tuple[np.ndarray, np.ndarray]], jumps: dict[str, list[float]], file: Path) -> None:
    """Energy above force, one column a model."""
    drawing = figure(9.0, 5.5)
    panels = drawing.subplots(2, 2, sharex=True, sharey="row")
    for column, (name, curve) in zip(panels.T, curves.items(), strict=True):
        for axes, values in zip(column, curve, strict=True):
            for kind, angles in jumps.items():
                for n, angle in enumerate(angles):
                    label = f"change of {kind}" if kind != "cutoff" else "a neighbour crosses the cutoff"
                    axes.axvline(angle, color=COLOURS[kind], lw=0.7, alpha=0.6, zorder=0,
                                 label=None if n else label)
            axes.plot(ANGLES, values, ".", ms=1.2, color="k")
        column[0].set_title(name)
        column[1].set(xlabel="angle of the OH group, degrees", xlim=(ANGLES[0], ANGLES[-1]))
    panels[0, 0].set_ylabel("energy, meV")
    panels[1, 0].set_ylabel("force on the H, eV/Å")
    panels[1, 1].legend(fontsize=7)
    save(drawing, file)


def main() -> None:
    """Train, turn, draw."""
    warnings.filterwarnings("ignore", message="a local-frame model is not continuous")  # which is to be shown here
    ethanol = next(connect(ALCOHOLS).select(formula="C2H6O", split="test")).toatoms()
    path, hydrogen = turned(ethanol)
    with tempfile.TemporaryDirectory() as folder:
        models = {name: train(descriptor, Path(folder) / name) for name, descriptor in MODELS.items()}
        curves = {name: along(path, hydrogen, model) for name, model in models.items()}
        jumps = events(path, models["DPMD"])
    for name, (energy, force) in curves.items():
        print(f"{name}: largest step of the energy {abs(np.diff(energy)).max():.3f} meV, of the force "
              f"{abs(np.diff(force)).max():.4f} eV/A, in {ANGLES[1]:g} degrees")
    draw(curves, jumps, Path("local_frame_jumps.png"))
    print("wrote local_frame_jumps.png")


if __name__ == "__main__":
    main()
