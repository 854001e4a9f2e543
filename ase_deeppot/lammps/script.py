"""The two lines of a LAMMPS input that are ours: ``pair_style deeppot [MODEL]`` and ``pair_coeff * * ELEMENT ...``.

The input is cut behind them, so that LAMMPS itself reads everything else, with its variables, loops and includes.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from ase_deeppot.errors import ConfigError

STYLE = "deeppot"
RESPA = re.compile(r"\brun_style\s+respa\b")
VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w)")


class Part(NamedTuple):
    """Commands for LAMMPS, and the model to attach after them."""

    commands: str
    model: str  # as the input names it; empty if it does not
    elements: tuple[str, ...]  # of LAMMPS's atom types; empty after the last part, where there is nothing to attach


def parts(text: str, name: str) -> list[Part]:
    """Cut an input behind each pair_coeff of ours.

    Raises
    ------
    ConfigError
        If there is no such line, one of the two lacks the other, or they are not as described above.
    """
    result: list[Part] = []
    commands: list[str] = []
    model: str | None = None
    for line in re.sub(r"&[ \t]*\n", " ", text).splitlines():
        words = line.split("#")[0].split()
        _refuse_respa(words, f"{name}: {line.strip()}")
        if words[:1] == ["pair_style"] and STYLE in words:
            model = _model(words, f"{name}: {line.strip()}")
        elif words[:1] == ["pair_coeff"] and model is not None:
            result.append(Part(_joined(commands), model, _elements(words, f"{name}: {line.strip()}")))
            commands, model = [], None
        else:
            commands.append(line)
    if model is not None or not result:
        wanted, after = ("pair_coeff * * ELEMENT ...", "'pair_style deeppot'") if model is not None else (
            "pair_style deeppot", "the simulation box")
        raise ConfigError(f"{name}: expected a line '{wanted}' after {after}, got none")
    return [*result, Part(_joined(commands), "", ())]


def substitute(text: str, value: Callable[[str], object]) -> str:
    """Put in the values of LAMMPS's variables, written ``$x`` or ``${name}``."""
    def replacement(match: re.Match[str]) -> str:
        found = value(match[1] or match[2])
        if found is None:
            raise ConfigError(f"expected a variable of the LAMMPS input, got '{match[0]}', which has no value")
        return str(found)

    return VARIABLE.sub(replacement, text)


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _refuse_respa(words: list[str], where: str) -> None:
    """Under respa LAMMPS would never ask for our forces."""
    if RESPA.search(" ".join(words)):
        raise ConfigError(f"{where}: expected 'run_style verlet', got respa: a Deep Potential is one force")


def _model(words: list[str], where: str) -> str:
    if words[1] != STYLE or len(words) > 3:
        raise ConfigError(f"{where}: expected 'pair_style deeppot' or 'pair_style deeppot MODEL', got another form; "
                          "it cannot be part of a hybrid style")
    return words[2] if len(words) == 3 else ""


def _elements(words: list[str], where: str) -> tuple[str, ...]:
    if words[1:3] != ["*", "*"] or len(words) < 4:
        raise ConfigError(f"{where}: expected 'pair_coeff * * ELEMENT ...' with the element of each atom type, "
                          "as in 'pair_coeff * * O H'")
    return tuple(words[3:])
