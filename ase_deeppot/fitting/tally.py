"""What a source holds, told from its frames as they are read one after the other."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from ase_deeppot.errors import DataError
from ase_deeppot.fitting import labels
from ase_deeppot.fitting.frames import Frame
from ase_deeppot.fitting.labels import KeyMapping


class SourceReport(NamedTuple):
    """What a source held: numbers of frames, and of frames with each label."""

    name: str
    frames: int
    energies: int
    forces: int
    virials: int
    elements: tuple[str, ...]
    hint: str  # what is missing and which keys were seen that look like it, or empty


class Tally:
    """Counts of the frames of one source."""

    def __init__(self, name: str, keys: KeyMapping) -> None:
        self.name, self.keys = name, keys
        self.frames = self.energies = self.forces = self.virials = 0
        self.elements: set[int] = set()
        self.seen: dict[str, None] = {}  # keys, in order

    def add(self, frame: Frame, atoms: Atoms) -> None:
        """Count one more frame, made of these atoms."""
        self.frames += 1
        self.energies += bool(np.isfinite(frame.energy))
        self.forces += bool(np.isfinite(frame.forces[0, 0]))
        self.virials += bool(np.isfinite(frame.virial[0, 0]))
        self.elements.update(frame.structure.numbers.tolist())
        self.seen.update(dict.fromkeys(labels.seen_keys(atoms)))

    def report(self) -> SourceReport:
        """What there was, when all frames are counted.

        Raises
        ------
        DataError
            If there was no frame, or no label in any of them.
        """
        if not self.frames:
            raise DataError(f"{self.name}: expected at least one frame, got none")
        if not self.energies + self.forces + self.virials:
            raise DataError(f"{self.name}: {labels.no_labels(self.keys, self.seen)}")
        found = {"energy": self.energies, "forces": self.forces, "stress": self.virials, "virial": self.virials}
        elements = tuple(chemical_symbols[z] for z in sorted(self.elements))
        return SourceReport(self.name, self.frames, self.energies, self.forces, self.virials, elements,
                            labels.hint(found, self.frames, self.keys, self.seen))


def format_reports(reports: Sequence[SourceReport]) -> list[str]:
    """Lines of a table of the reports, the hints below their sources."""
    width = max(len("source"), *(len(report.name) for report in reports))
    lines = [f"{'source':{width}}  {'frames':>7} {'energies':>8} {'forces':>7} {'virials':>7}  elements"]
    for report in reports:
        lines.append(f"{report.name:{width}}  {report.frames:7d} {report.energies:8d} {report.forces:7d} "
                     f"{report.virials:7d}  {' '.join(report.elements)}")
        lines.extend([f"  {report.hint}"] if report.hint else [])
    return lines
