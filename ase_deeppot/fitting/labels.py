"""Energy, forces and virial of an ``Atoms`` under the names that the user's files give them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from ase_deeppot.config import option
from ase_deeppot.errors import ConfigError, DataError, StructureError
from ase_deeppot.fitting.frames import Frame
from ase_deeppot.structures import Structure, from_atoms

RELATIVE_ASYMMETRY = 0.01  # of the largest component of a stress or virial; rounding and DFT grids stay below
STRESS_NOISE, VIRIAL_NOISE = 1e-6, 1e-4  # eV/A^3, eV; asymmetry of numbers that are zero but for noise
SMALLEST_VOLUME = 1e-6  # A^3; below, the cell vectors don't span space

LOOKALIKES = {
    "energy": re.compile(r"energy|toten|^e(_?tot.*)?$", re.IGNORECASE),
    "forces": re.compile(r"force|^f$", re.IGNORECASE),
    "stress": re.compile(r"stress|virial", re.IGNORECASE),
}
NOT_LABELS = {"numbers", "positions", "tags", "momenta", "masses", "initial_magmoms", "initial_charges",
              "unique_id", "key_value_pairs", "data"}


@dataclass(frozen=True)
class KeyMapping:
    """Names of the labels in the sources; an empty name means that the label is not read.

    A key is looked for, in this order, in the results that ASE keeps in ``atoms.calc`` (where its readers put
    ``energy``, ``free_energy``, ``forces`` and ``stress``), in ``atoms.info``, in ``atoms.arrays`` and, of an
    ASE database, in the key-value pairs and the data of the row. Nothing else is ever taken in its place.
    """

    energy: str = option("energy", "one number, eV")
    forces: str = option("forces", "N x 3, eV/A, without the effect of constraints")
    stress: str = option("stress", "3 x 3, 9 or 6 (Voigt xx yy zz yz xz xy), eV/A^3, positive under tension as in ASE")
    virial: str = option("", "3 x 3, 9 or 6 as above, eV; where it is given, the default stress is not read")
    virial_sign: Literal["", "-dE/dstrain", "+dE/dstrain"] = option(
        "", "-dE/dstrain (= -V * stress, DeePMD-kit and QUIP) or +dE/dstrain; needed with virial")
    weight: str = option("", "one number >= 0: how much the frame counts in the loss, beside the others; 1 where it "
                             "is missing")

    def __post_init__(self) -> None:
        if self.virial and self.stress not in ("", "stress"):
            raise ConfigError("expected stress or virial in [data.keys], "
                              f"got both: '{self.stress}' and '{self.virial}'")
        if self.virial and not self.virial_sign:
            raise ConfigError("expected virial_sign = \"-dE/dstrain\" or \"+dE/dstrain\" in [data.keys] "
                              "beside virial, got none")
        if self.virial_sign and not self.virial:
            raise ConfigError("expected a key for virial in [data.keys] beside virial_sign, got none")

    @property
    def named(self) -> dict[str, str]:
        """The labels that are read, and the key of each."""
        labels = {"energy": self.energy, "forces": self.forces}
        labels |= {"virial": self.virial} if self.virial else {"stress": self.stress}
        return {label: key for label, key in labels.items() if key}


STANDARD_KEYS = KeyMapping()


def frame_of(atoms: Atoms, keys: KeyMapping, where: str) -> Frame:
    """Check one labelled structure and take copies of its numbers.

    Raises
    ------
    DataError
        If there is no atom, the structure cannot be described, or a label has a wrong shape, is not finite,
        or is an asymmetric tensor; the message begins with ``where``.
    """
    if not len(atoms):
        raise DataError(f"{where}: expected at least one atom, got none")
    try:
        structure = from_atoms(atoms)
    except StructureError as error:
        raise DataError(f"{where}: {error}") from error
    found = {label: _numeric(value, key, where) for label, key in keys.named.items()
             if (value := _find(atoms, key)) is not None}
    return Frame(structure, _number(found.get("energy"), keys.energy, where),
                 _forces(found.get("forces"), keys.forces, structure, where),
                 _virial(found, keys, structure, where), _weight(atoms, keys.weight, where))


def check_current(atoms: Atoms, keys: KeyMapping, where: str) -> None:
    """Refuse results of a calculator that were computed for another structure than this.

    Raises
    ------
    DataError
        If a label would come from such results: the atoms were changed, or share one calculator with others.
    """
    results = getattr(atoms.calc, "results", {})
    if any(key in results for key in keys.named.values()) and hasattr(atoms.calc, "check_state"):
        changes = atoms.calc.check_state(atoms)
        if changes:
            raise DataError(f"{where}: expected the calculator's results to be of this structure, got other "
                            f"{', '.join(changes)}: keep the results of each in an ase SinglePointCalculator")


def seen_keys(atoms: Atoms) -> Iterator[str]:
    """Names of everything that could be a label."""
    return (key for place in _places(atoms) for key in map(str, place) if key not in NOT_LABELS)


def hint(found: Mapping[str, int], count: int, keys: KeyMapping, seen: Iterable[str]) -> str:
    """What labels are missing in how many of the frames, and which keys were seen that look like them, or nothing.

    ``found`` is the number of frames with each label.
    """
    texts = [_hint_label(label, key, count - found[label], count, seen) for label, key in keys.named.items()]
    weightless = f'no weight under "{keys.weight}"' if keys.weight and keys.weight not in set(seen) else ""
    return "; ".join(text for text in [*texts, weightless] if text)


def _hint_label(label: str, key: str, missing: int, count: int, seen: Iterable[str]) -> str:
    pattern = LOOKALIKES["stress" if label == "virial" else label]
    alike = sorted(name for name in set(seen) if pattern.search(name) and name != key)
    optional = label in ("stress", "virial")  # a data set without them is complete
    if missing == 0 or (optional and missing == count and not alike):
        return ""
    text = f'no {label} under "{key}"' + (f" in {missing} of {count} frames" if missing < count else "")
    return text + (f", found {_quoted(alike)}: set {_option(label, alike)}" if alike else "")


def _option(label: str, alike: list[str]) -> str:
    if label not in ("stress", "virial"):
        return f"keys.{label}"
    stress = any("stress" in name.lower() for name in alike)
    return "keys.stress" if stress else "keys.virial and keys.virial_sign"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def no_labels(keys: KeyMapping, seen: Iterable[str]) -> str:
    """Message for a source without any label."""
    names = sorted(set(seen))
    alike = {label: [name for name in names if LOOKALIKES[label].search(name) and "virial" not in name.lower()]
             for label in ("energy", "forces", "stress")}
    meant = [f"--key {label}={found[0]}" for label, found in alike.items() if found]
    return (f"expected labels under {_quoted(keys.named.values())}, got none; keys seen: {_quoted(names) or 'none'}; "
            f"say which in [data.keys], or by {' '.join(meant) or '--key energy=NAME'}")


def _places(atoms: Atoms) -> tuple[Mapping[str, Any], ...]:
    rows = [atoms.info.get(part) for part in ("key_value_pairs", "data")]  # as AtomsRow.toatoms leaves them
    return (getattr(atoms.calc, "results", {}), atoms.info, atoms.arrays,
            *(row for row in rows if isinstance(row, Mapping)))


def _find(atoms: Atoms, key: str) -> Any:
    return next((place[key] for place in _places(atoms) if place.get(key) is not None), None)


def _numeric(value: Any, key: str, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of unequal length
        array = np.asarray(None)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where}: expected numbers under '{key}', got {str(value)[:60]!r}")
    finite = np.isfinite(array)
    if not finite.all():
        raise DataError(f"{where}: expected finite numbers under '{key}', got {array[~finite][0]}")
    return array.astype(np.float64)


def _number(array: np.ndarray | None, key: str, where: str) -> float:
    if array is None:
        return np.nan
    if array.size != 1:
        raise DataError(f"{where}: expected one number under '{key}', got shape {array.shape}")
    return float(array.reshape(()))


def _forces(array: np.ndarray | None, key: str, structure: Structure, where: str) -> np.ndarray:
    shape = structure.positions.shape
    if array is None:
        return np.full(shape, np.nan)
    if array.shape != shape:
        raise DataError(f"{where}: expected shape {shape} under '{key}', got {array.shape}")
    return array


def _weight(atoms: Atoms, key: str, where: str) -> float:
    value = _find(atoms, key) if key else None
    if value is None:
        return 1.0
    weight = _number(_numeric(value, key, where), key, where)
    if weight < 0:
        raise DataError(f"{where}: expected a weight >= 0 under '{key}', got {weight:g}")
    return weight


def _virial(found: Mapping[str, np.ndarray], keys: KeyMapping, structure: Structure,
            where: str) -> np.ndarray:
    """-dE/dstrain [3, 3] in eV, from whichever of the two was found."""
    if "virial" in found:
        sign = 1.0 if keys.virial_sign == "-dE/dstrain" else -1.0
        return sign * _symmetric(found["virial"], VIRIAL_NOISE, keys.virial, where)
    if "stress" in found:
        volume = abs(np.linalg.det(structure.cell))
        if volume < SMALLEST_VOLUME:
            raise DataError(f"{where}: expected three independent cell vectors beside a stress, got "
                            f"{structure.cell.tolist()}: set keys.stress = \"\" to leave it out")
        return -volume * _symmetric(found["stress"], STRESS_NOISE, keys.stress, where)
    return np.full((3, 3), np.nan)


def _symmetric(array: np.ndarray, noise: float, key: str, where: str) -> np.ndarray:
    if array.shape not in ((3, 3), (9,), (6,)):
        raise DataError(f"{where}: expected shape (3, 3), (9,) or (6,) under '{key}', got {array.shape}")
    tensor = voigt_6_to_full_3x3_stress(array) if array.size == 6 else array.reshape(3, 3)
    difference = np.abs(tensor - tensor.T)
    if difference.max() > RELATIVE_ASYMMETRY * np.abs(tensor).max() + noise:
        a, b = np.unravel_index(difference.argmax(), (3, 3))
        raise DataError(f"{where}: expected a symmetric tensor under '{key}', got {tensor[a, b]:g} and "
                        f"{tensor[b, a]:g} for {'xyz'[a]}{'xyz'[b]} and {'xyz'[b]}{'xyz'[a]}")
    return (tensor + tensor.T) / 2
