"""Atoms to arrays: the only place that checks a structure; everything behind it trusts what it gets."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from ase_deeppot.errors import StructureError

FRAME_PARAMETERS, ATOM_PARAMETERS = "fparam", "aparam"  # keys in atoms.info and atoms.arrays, DeePMD-kit's names
FLAT = 1e-9  # sine of an angle between cell vectors below which they count as dependent


class Structure(NamedTuple):
    """One arrangement of atoms, checked."""

    numbers: np.ndarray  # [N] int64, atomic numbers
    positions: np.ndarray  # [N, 3] float64, A
    cell: np.ndarray  # [3, 3] float64, A, one cell vector a row
    pbc: np.ndarray  # [3] bool

    @property
    def volume(self) -> float:
        """Volume of the cell, A^3; zero where its vectors are not independent, but for rounding."""
        volume = float(abs(np.linalg.det(self.cell)))  # to the bit that of ASE: stresses are read with it
        return volume if volume > FLAT * math.prod(_lengths(self.cell)) else 0.0


def from_atoms(atoms: Atoms) -> Structure:
    """Check an ASE structure and take copies of its arrays.

    Raises
    ------
    StructureError
        If a position or cell entry is not finite, or a periodic direction has a zero or dependent cell vector.
    """
    positions = np.array(atoms.positions, dtype=np.float64)
    cell = np.array(atoms.cell[:], dtype=np.float64)
    pbc = np.array(atoms.pbc, dtype=bool)
    if not np.isfinite(positions).all():
        bad = int(np.argmin(np.isfinite(positions).all(axis=1)))
        raise StructureError(f"expected finite positions, got {positions[bad]} for atom {bad}")
    check_cell(cell, pbc)
    return Structure(atoms.numbers.astype(np.int64), positions, cell, pbc)


def parameters_of(atoms: Atoms, frame: int, atom: int, default: Sequence[float] = ()) -> np.ndarray:
    """What a model takes beside the structure, [N, frame + atom]: ``atoms.info["fparam"]``, ``atoms.arrays["aparam"]``.

    Parameters
    ----------
    frame, atom : int
        How many of the frame, the same for all atoms, and how many of each atom.
    default : sequence of float
        Those of a frame that has none.

    Raises
    ------
    StructureError
        If they are missing, not as many as the model takes, or not finite.
    """
    n = len(atoms)
    fparam = atoms.info.get(FRAME_PARAMETERS, default or None)
    of_frame = _numbers(fparam, (frame,), f"atoms.info['{FRAME_PARAMETERS}']") if frame else np.zeros(0)
    aparam = atoms.arrays.get(ATOM_PARAMETERS)
    of_atoms = _numbers(aparam, (n, atom), f"atoms.arrays['{ATOM_PARAMETERS}']") if atom else np.zeros((n, 0))
    return np.hstack([np.tile(of_frame, (n, 1)), of_atoms])


def _numbers(value: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Finite numbers in that shape; where one number is meant for each, the last dimension may be left out."""
    expected = f"expected numbers in the shape {list(shape)} in {name}, which the model takes beside the structure"
    if value is None:
        raise StructureError(f"{expected}, got none")
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise StructureError(f"{expected}, got {value!r}") from error
    if array.shape not in (shape, shape[:-1] if shape[-1] == 1 else shape):
        raise StructureError(f"{expected}, got shape {list(array.shape)}")
    if not np.isfinite(array).all():
        raise StructureError(f"{expected}, got some that are not finite")
    return array.reshape(shape)


def check_cell(cell: np.ndarray, pbc: np.ndarray) -> None:
    """Refuse a cell that cannot be repeated along the directions that are periodic.

    Raises
    ------
    StructureError
        If an entry is not finite, or the periodic cell vectors are zero or linearly dependent.
    """
    lengths = _lengths(cell)
    if not all(map(math.isfinite, lengths)):
        raise StructureError(f"expected a finite cell, got {cell.tolist()}")
    for axis in range(3):
        if pbc[axis] and lengths[axis] == 0.0:
            raise StructureError(f"expected a cell vector along periodic direction {axis}, got {cell[axis]}: "
                                 "set the cell, or pbc=False there")
    if _volume(cell) > 2.0 * FLAT * math.prod(lengths):  # its singular values are above FLAT then
        return
    periodic = cell[pbc] / np.array(lengths)[pbc, None]
    if len(periodic) > 1 and np.linalg.matrix_rank(periodic, tol=FLAT) < len(periodic):
        raise StructureError(f"expected independent cell vectors along periodic directions, got {cell.tolist()}")


def _lengths(cell: np.ndarray) -> list[float]:
    return [math.hypot(*vector) for vector in cell.tolist()]


def _volume(cell: np.ndarray) -> float:
    """Number by number: arrays take longer to make."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = cell.tolist()
    return abs(ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx))


def types_of(numbers: np.ndarray, type_map: Sequence[str]) -> np.ndarray:
    """Index of each atom's element in ``type_map``.

    Parameters
    ----------
    numbers : ndarray, [N]
        Atomic numbers.
    type_map : sequence of str
        Chemical symbols, in the model's order.

    Returns
    -------
    ndarray, [N] int64

    Raises
    ------
    StructureError
        If an element is not in ``type_map``; the message names it.
    """
    lookup = np.full(max(len(chemical_symbols), int(numbers.max(initial=0)) + 1), -1, dtype=np.int64)
    for index, symbol in enumerate(type_map):
        lookup[atomic_numbers[symbol]] = index
    types = lookup[numbers]
    if (types < 0).any():
        unknown = sorted({chemical_symbols[z] if z < len(chemical_symbols) else str(z) for z in numbers[types < 0]})
        raise StructureError(f"expected elements of the model ({', '.join(type_map)}), got {', '.join(unknown)}")
    return types


def unknown_symbols(symbols: Sequence[str]) -> list[str]:
    """Those that are no chemical symbols."""
    return [symbol for symbol in symbols if symbol not in atomic_numbers]


def elements_of(numbers: np.ndarray) -> tuple[str, ...]:
    """Chemical symbols that occur, by atomic number."""
    return tuple(chemical_symbols[z] for z in np.unique(numbers))


def symbols_of(numbers: np.ndarray) -> list[str]:
    """Chemical symbol of each atom."""
    return [chemical_symbols[z] for z in numbers]
