"""Time whole ASE steps of a DeepPot-SE water model (25-50-100, axis 16, 240x3, rcut 6), ours and DeePMD-kit's.

    python benchmarks/md_step.py [--large] [--huge] [--local-frame]
        [--deepmd-python PYTHON --deepmd-frozen frozen.pth --deepmd-compressed compressed.pth]

A step is all that `VelocityVerlet.run` does: neighbours, energy, forces, stress, ASE's bookkeeping. Each block of 20
steps of ours begins with a neighbour search that its other steps share through the skin, about as often as water at
300 K needs one: even in free flight, the fastest hydrogen takes 16 steps of 0.5 fs through half a skin of 1 A. The
steps themselves are so short (0.01 fs) that all see the same structure, examples/data/water_box.extxyz repeated,
whatever the forces: our model is not trained unless one is given. With --local-frame an untrained DPMD model of ours,
of the shape that its paper gave for water, takes its turn too.
DeePMD-kit's calculator (neighbours by vesin, each step anew) runs in an environment of its own. Every contender is a
process, the blocks of all take turns, so that a busy machine slows all alike, and the figures are medians.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import IO, NamedTuple, cast

from machine import WORKERS, ask, environment, last_line, processor, versions

WATER = Path(__file__).resolve().parent.parent / "examples" / "data" / "water_box.extxyz"
ATOMS = 192  # in it
MACS = 1600 * 240 + 2 * 240 * 240 + 240  # of the fitting net, an atom
PRECISIONS = ("float64", "float32")
STARTS = 5


class Contender(NamedTuple):
    """One way to run the model."""

    name: str
    python: str
    calculator: str  # "deeppot" or "deepmd"
    model: str  # its file; empty if it was not given
    dtype: str  # of the nets
    steps: int  # a block
    largest: int  # atoms, that it is asked for


class Result(NamedTuple):
    """What a contender did at one size."""

    seconds: float  # a step
    peak_gb: float
    remark: str  # why there are no figures


class Stepper:
    """A process that runs blocks of steps, and the times it took."""

    def __init__(self, contender: Contender, process: subprocess.Popen, messages: IO[str]) -> None:
        self.contender, self.process, self.messages = contender, process, messages
        self.times, self.peak_gb, self.remark = list[float](), 0.0, ""
        self.receive()  # it is ready

    def receive(self) -> float:
        """Seconds of the block just done; a process that died leaves its last words as a remark."""
        line = cast(IO[str], self.process.stdout).readline()
        if not line:
            self.messages.seek(0)
            self.remark = f"died: {last_line(self.messages.read())}"
            return float("nan")
        reply = json.loads(line)
        self.peak_gb = reply["peak_gb"]
        return reply["seconds"]

    def block(self) -> None:
        """Run a block and note the time of a step."""
        if self.remark:
            return
        print(self.contender.steps, file=self.process.stdin, flush=True)
        self.times.append(self.receive() / self.contender.steps)

    def result(self) -> Result:
        """Median time of a step, peak memory."""
        return Result(median(self.times) if self.times else float("nan"), self.peak_gb, self.remark)


@contextmanager
def stepper(contender: Contender, repeat: int, options: argparse.Namespace) -> Iterator[Stepper]:
    """A :class:`Stepper` for the water box repeated along each direction; its process ends with the context."""
    dtype = ["--dtype", contender.dtype] if contender.calculator == "deeppot" else []
    command = [contender.python, str(WORKERS / "ase_steps.py"), contender.calculator, contender.model, str(WATER),
               "--repeat", str(repeat), "--device", options.device, "--neighbors", options.deepmd_neighbors, *dtype]
    with (tempfile.TemporaryFile("w+") as messages,
          subprocess.Popen(command, env=environment(options.threads, options.device), text=True, stderr=messages,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process):
        yield Stepper(contender, process, messages)


def measure(contenders: list[Contender], repeat: int, options: argparse.Namespace) -> dict[str, Result]:
    """Blocks of all contenders in turn, at one size."""
    atoms = ATOMS * repeat**3
    repeats = options.repeats if repeat < 4 else max(1, options.repeats // repeat)
    results = {contender.name: Result(float("nan"), 0.0, "not given" if not contender.model else "not asked")
               for contender in contenders}
    with ExitStack() as stack:
        able = [contender for contender in contenders if contender.model and atoms <= contender.largest]
        processes = [stack.enter_context(stepper(contender, repeat, options)) for contender in able]
        for _ in range(repeats):
            for process in processes:
                process.block()
        return results | {process.contender.name: process.result() for process in processes}


def contenders_of(options: argparse.Namespace, folder: str) -> list[Contender]:
    """Ours in both precisions, first the smooth ones, and DeePMD-kit's as far as it was given."""
    ours = []
    kinds = {"smooth": options.model} | ({"local_frame": ""} if options.local_frame else {})
    for kind, given in kinds.items():
        for precision in PRECISIONS:
            model = given or str(Path(folder) / f"{kind}-{precision}.pth")
            if not given:
                ask("untrained_model.py", [model, str(WATER), precision, kind], environment(options.threads))
            name = precision if kind == "smooth" else f"{kind} {precision}"
            ours.append(Contender(name, sys.executable, "deeppot", model, precision, options.steps, sys.maxsize))
    files = {"frozen": options.deepmd_frozen, "compressed": options.deepmd_compressed}
    theirs = [Contender(f"DeePMD-kit {kind}", options.deepmd_python, "deepmd", file if options.deepmd_python else "",
                     "float64", options.deepmd_steps, options.deepmd_limit) for kind, file in files.items()]
    return ours + theirs


def floors(options: argparse.Namespace) -> dict[str, float]:
    """Least seconds an atom that the fitting net's products take, forward and backward, printed with the rates."""
    rates = ask("blas_floor.py", ["--device", options.device], environment(options.threads, options.device))
    for precision, by_rows in rates.items():
        text = ", ".join(f"{rate:.0f} at {rows}" for rows, rate in by_rows.items())
        print(f"floor {precision}: {text} rows, GMAC/s; 2 x {MACS:,} multiply-adds an atom take "
              f"{2e-3 * MACS / max(by_rows.values()):.1f} us at best", flush=True)
    return {precision: 2e-9 * MACS / max(by_rows.values()) for precision, by_rows in rates.items()}


def lines(atoms: int, contenders: list[Contender], results: dict[str, Result],
          floor: dict[str, float]) -> Iterator[str]:
    """The table of one size; how many times faster than DeePMD-kit's a contender is."""
    theirs = [results[contender.name] for contender in contenders if contender.calculator == "deepmd"]
    for contender in contenders:
        seconds, peak_gb, remark = results[contender.name]
        if remark:
            yield f"{atoms:7d} {contender.name:<22} {remark}"
            continue
        faster = " ".join(f"{other.remark.split(':')[0] if other.remark else f'{other.seconds / seconds:.2f}x':>11}"
                          for other in theirs)
        # The floor is that of DeepPot-SE's net.
        above = "" if "local_frame" in contender.name else f"{seconds / atoms / floor[contender.dtype]:.2f}"
        yield (f"{atoms:7d} {contender.name:<22} {1e6 * seconds / atoms:9.1f} {1e3 * seconds:10.2f} "
               f"{above:>8} {peak_gb:8.2f} {faster}")


def startup(contender: Contender, options: argparse.Namespace) -> str:
    """Seconds from the imports of torch and ASE to the first energy, medians."""
    env = environment(options.threads)
    runs = [ask("startup.py", [contender.model, str(WATER), contender.dtype], env) for _ in range(options.starts)]
    seconds = {key: median(run[key] for run in runs) for key in runs[0]}
    return (f"start-up beyond torch and ase, {ATOMS} atoms, {contender.dtype}, {len(runs)} processes: "
            f"import {seconds['import']:.2f} s, load {seconds['load']:.2f} s, first call {seconds['first']:.2f} s, "
            f"together {seconds['total']:.2f} s; second call {1e3 * seconds['second']:.0f} ms, "
            f"later calls {1e3 * seconds['later']:.1f} ms")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="add 12,288 atoms")
    parser.add_argument("--huge", action="store_true", help="add 98,304 atoms")
    parser.add_argument("--size", type=int, nargs="+", default=[1, 2], metavar="N", help="N^3 boxes of 192 atoms")
    parser.add_argument("--model", default="", help="a trained model of ours, instead of an untrained one")
    parser.add_argument("--local-frame", action="store_true", help="add a DPMD model of ours")
    parser.add_argument("--device", default="cpu", help="where our model runs; DeePMD-kit uses a GPU if it sees one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9, help="blocks of each contender (fewer for 12,288 atoms on)")
    parser.add_argument("--steps", type=int, default=20, help="in a block of ours, with one neighbour search")
    parser.add_argument("--starts", type=int, default=STARTS, help="processes to time the start-up with")
    parser.add_argument("--deepmd-python", default="", help="Python of an environment with DeePMD-kit, ase and vesin")
    parser.add_argument("--deepmd-frozen", default="", help="its model of this shape, from `dp --pt freeze`")
    parser.add_argument("--deepmd-compressed", default="", help="the same, from `dp --pt compress`")
    parser.add_argument("--deepmd-neighbors", default="vesin", help="how it finds them: vesin, native, nv")
    parser.add_argument("--deepmd-steps", type=int, default=3, help="in a block of DeePMD-kit's")
    parser.add_argument("--deepmd-limit", type=int, default=1536, help="largest structure that it is asked for")
    options = parser.parse_args()
    if min(options.steps, options.deepmd_steps) < 2:
        parser.error("expected --steps and --deepmd-steps of at least 2")
    return options


def main() -> None:
    options = arguments()
    print(f"{processor()}, {options.threads} threads, device {options.device}")
    print(versions(sys.executable, ("ase", "numpy", "scipy", "torch", "numba", "ase-deeppot")))
    if options.deepmd_python:
        print(f"DeePMD-kit: {versions(options.deepmd_python, ('deepmd-kit', 'torch', 'ase', 'vesin'))}")
    with tempfile.TemporaryDirectory() as folder:
        contenders = contenders_of(options, folder)
        for contender in contenders[: len(PRECISIONS)]:
            print(startup(contender, options), flush=True)
        title = f"{'atoms':>7} {'':<22} {'us/atom':>9} {'ms/step':>10} {'x floor':>8} {'peak GB':>8}"
        for repeat in [*options.size, *([4] if options.large else []), *([8] if options.huge else [])]:
            floor = floors(options)
            results = measure(contenders, repeat, options)
            print(f"{title} {'vs frozen':>11} {'compressed':>11}")
            print("\n".join(lines(ATOMS * repeat**3, contenders, results, floor)), flush=True)


if __name__ == "__main__":
    main()
