"""deeppot sample."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ase_deeppot.cli.common import SOURCES, add_head, writable
from ase_deeppot.errors import DataError, StructureError
from ase_deeppot.files import replacing
from ase_deeppot.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from ase_deeppot.bonds import SpeciesFinder
    from ase_deeppot.cli.common import Commands
    from ase_deeppot.sampling.dynamics import Trajectory
    from ase_deeppot.structures import Structure


class _Found(NamedTuple):
    """What there is to say of what was written."""

    apart: list[float]  # of each structure, eV/A, on the atom where the models are most so
    complete: list[bool]  # of each trajectory
    interrupted: bool


def add(commands: "Commands") -> None:
    """Declare the commands of this module."""
    sample = commands.add_parser("sample", help="structures by dynamics, labelled by models, for a small one to learn")
    sample.add_argument("models", nargs="+", metavar="MODEL",
                        help="model files; several label by their mean, and dynamics ends where they are apart")
    sample.add_argument("--start", nargs="+", required=True, metavar="DATA",
                        help=f"structures to start from: {SOURCES}")
    sample.add_argument("--moving", metavar="MODEL", help="a faster model that moves the atoms, in place of the others")
    sample.add_argument("-o", "--output", required=True, metavar="FILE.xyz", help="extended XYZ to write")
    for field in dataclasses.fields(SamplingConfig):
        _add_option(sample, field)
    add_head(sample)
    sample.set_defaults(run=_sample)


def _add_option(parser: argparse.ArgumentParser, field: "dataclasses.Field[float]") -> None:
    needed, whole = field.default is dataclasses.MISSING, field.type is int
    told = field.metadata["meaning"] + ("" if needed else f" (default: {field.default})")
    parser.add_argument(f"--{field.name}", type=int if whole else float, metavar="N" if whole else "X",
                        required=needed, default=None if needed else field.default, help=told)


def _sample(options: argparse.Namespace) -> int:
    from ase_deeppot.bonds import SpeciesFinder
    from ase_deeppot.calculator import DeepPotCalculator
    from ase_deeppot.fitting.progress import progress_bar
    from ase_deeppot.sampling.dynamics import sample

    path = writable(options.output)
    names = [field.name for field in dataclasses.fields(SamplingConfig)]
    config = SamplingConfig(**{name: getattr(options, name) for name in names})
    labels = DeepPotCalculator(options.models, head=options.head)
    moving = DeepPotCalculator(options.moving) if options.moving else None
    models = [labels] if moving is None else [labels, moving]
    known = [SpeciesFinder(one.card.type_map) for one in models]
    with replacing(path) as file, progress_bar(config.structures, 0, False, "structure") as progress:
        found = _written(file, sample(_starts(options.start, known, config), labels, config, moving), progress)
    print(_summary(found))
    print(f"wrote {path}")
    return 130 if found.interrupted else 0


def _written(file: BinaryIO, trajectories: Iterable["Trajectory"], progress: Callable[[int], object]) -> _Found:
    """Write all structures, or those that there are when the user interrupts."""
    from ase_deeppot.fitting.predicted import extended_xyz
    from ase_deeppot.results import DEVIATION

    apart: list[float] = []
    complete: list[bool] = []
    interrupted, end = False, 0
    try:
        for frames, whole in trajectories:
            file.write(extended_xyz(frames))
            end = file.tell()
            apart += [float(max(frame.arrays.get(DEVIATION, [0.0]))) for frame in frames]
            complete.append(whole)
            progress(len(apart))
    except KeyboardInterrupt:
        interrupted = True
        file.truncate(end)
    found = _Found(apart, complete, interrupted)
    if not apart:
        raise KeyboardInterrupt if interrupted else DataError(f"expected structures, got none: {_ended(found)}, before "
                                                              "the first was taken; see --apart")
    return found


def _ended(found: _Found) -> str:
    return f"{found.complete.count(False):,} of {len(found.complete):,} trajectories ended early"


def _summary(found: _Found) -> str:
    told = f"{len(found.apart):,} structures{' until interrupted' if found.interrupted else ''}, {_ended(found)}"
    if not any(found.apart):
        return told + "; one model alone does not tell where it errs"
    return (f"{told}; on the atom where they are most apart the models' forces are {median(found.apart):.3f} eV/A "
            f"apart (median), {max(found.apart):.3f} at most")


def _starts(sources: Sequence[str], known: Sequence["SpeciesFinder"], config: SamplingConfig) -> Iterator["Structure"]:
    """Structures of known species, drawn from those of the sources without single atoms, which move nowhere."""
    from ase_deeppot.fitting.sources import read_structures
    from ase_deeppot.sampling.dynamics import draw

    several = [(name, structure) for name, structure in read_structures(sources) if len(structure.numbers) > 1]
    if not several:
        raise DataError(f"expected structures of several atoms to start from, got none in {', '.join(sources)}")
    for name, structure in [several[k] for k in draw(len(several), config)]:
        try:
            for of_model in known:
                of_model.types(structure)
        except StructureError as error:
            raise StructureError(f"{name}: {error}") from error
        yield structure
