"""What a run tells its user while it goes: a log, and a progress bar where tqdm is installed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class Log:
    """Lines for the user, on the terminal and in a file, if there is one."""

    def __init__(self, path: Path | None, quiet: bool = False, append: bool = False) -> None:
        self.path, self.quiet = path, quiet
        if path and not append:
            path.unlink(missing_ok=True)

    def __call__(self, text: str) -> None:
        """Say something; a log that cannot be written is no reason to stop."""
        if not self.quiet:
            _say(text)
        if self.path is None:
            return
        try:
            with self.path.open("a") as file:
                file.write(text + "\n")
        except OSError as error:
            _say(f"warning: could not write {self.path} ({error.strerror})")


def _say(text: str) -> None:
    """Print without tearing a progress bar."""
    try:
        from tqdm import tqdm
    except ImportError:
        print(text, flush=True)
    else:
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()


@contextmanager
def progress_bar(total: int, done: int, quiet: bool, unit: str = "step") -> Iterator[Callable[[int], object]]:
    """A bar on stderr that is called with the number of steps done; nothing without tqdm, or when quiet."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda done: None
        return
    with tqdm(total=total, initial=done, unit=unit, disable=quiet or None, dynamic_ncols=True, leave=False) as bar:
        yield lambda now: bar.update(now - bar.n)
