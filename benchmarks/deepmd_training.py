"""DeePMD-kit's training, driven from outside: data in its format, its input, what its log and learning curve say."""

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from machine import last_line

ELAPSED = re.compile(r"Batch +(\d+): total wall time = ([\d.]+) s")


def write_system(folder: Path, frames: Sequence[Atoms], type_map: Sequence[str]) -> None:
    """Write frames as a DeePMD-kit system: type.raw, type_map.raw and the arrays of set.000.

    Raises
    ------
    ValueError
        If the frames do not all have the same atoms in the same order, as the format demands.
    """
    numbers = frames[0].numbers
    for k, atoms in enumerate(frames):
        if not np.array_equal(atoms.numbers, numbers):
            raise ValueError(f"expected the same atoms in the same order in all frames, got others in frame {k}")
    arrays = {
        "coord": [atoms.positions.ravel() for atoms in frames],
        "box": [atoms.cell[:].ravel() for atoms in frames],
        "energy": [[atoms.get_potential_energy()] for atoms in frames],
        "force": [atoms.get_forces(apply_constraint=False).ravel() for atoms in frames],
    }
    (folder / "set.000").mkdir(parents=True)
    for name, array in arrays.items():
        np.save(folder / "set.000" / f"{name}.npy", np.array(array, dtype=np.float64))
    (folder / "type_map.raw").write_text("\n".join(type_map) + "\n")
    types = [str(type_map.index(symbol)) for symbol in frames[0].symbols]
    (folder / "type.raw").write_text("\n".join(types) + "\n")


def training_input(type_map: Sequence[str], sel: Sequence[int] | str, precision: str, steps: int, every: int,
                   n_validation: int, rcut: float = 6.0, batch_size: int | str = 1, seed: int = 1) -> dict:
    """Input of the shape 25-50-100, axis 16, 240x3, with the loss and rates of DeePMD-kit's water example."""
    descriptor = {"type": "se_e2_a", "sel": sel, "rcut_smth": 0.5, "rcut": rcut, "neuron": [25, 50, 100],
                  "axis_neuron": 16, "type_one_side": True, "precision": precision, "seed": seed}
    fitting_net = {"neuron": [240, 240, 240], "resnet_dt": True, "precision": precision, "seed": seed}
    training = {"training_data": {"systems": "train", "batch_size": batch_size}, "numb_steps": steps, "seed": seed,
                "disp_freq": every, "save_freq": steps}
    if n_validation:
        training["validation_data"] = {"systems": "validation", "batch_size": 1, "numb_btch": n_validation}
    return {
        "model": {"type_map": list(type_map), "descriptor": descriptor, "fitting_net": fitting_net},
        "learning_rate": {"type": "exp", "start_lr": 1e-3, "stop_lr": 3.51e-8, "decay_steps": max(1, steps // 200)},
        "loss": {"type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1},
        "training": training,
    }


def train(python: str, folder: Path, settings: dict, env: dict[str, str]) -> str:
    """Run ``dp --pt train`` in ``folder``; returns its log.

    Raises
    ------
    RuntimeError
        With its last words, if it failed.
    """
    (folder / "input.json").write_text(json.dumps(settings, indent=1))
    command = [python, "-m", "deepmd", "--pt", "train", "input.json"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"dp --pt train: {last_line(done.stderr)}")
    return done.stderr + done.stdout


def seconds_a_step(log: str) -> list[float]:
    """Time of a step in each interval of the log, without the first full one, which warms up."""
    rows = [(int(step), float(seconds)) for step, seconds in ELAPSED.findall(log)]
    steps = np.diff([step for step, _ in rows])
    return [seconds / count for (_, seconds), count in zip(rows[1:], steps, strict=True)][1:]


def force_errors(folder: Path) -> list[tuple[int, float]]:
    """Step and RMSE of the validation forces, eV/A, of each line of the learning curve."""
    header, *lines = (folder / "lcurve.out").read_text().splitlines()
    names = header.lstrip("# ").split()
    step, error = names.index("step"), names.index("rmse_f_val")
    rows = [line.split() for line in lines if not line.startswith("#")]
    return [(int(row[step]), float(row[error])) for row in rows]
