"""Names of a model's species: an element, ``C``, or an element and what its atom is bonded to, ``C(CCH)``.

What is in brackets are the names of the bonded atoms, in alphabetical order, which may have brackets of their own: in
``C(C(CCC)C(CCH)H(C))`` what two bonds away is there counts too. A lone atom is ``C()``.
"""

import re
from collections.abc import Iterable, Sequence

from ase.data import atomic_numbers

PARTS = re.compile(r"[A-Z][a-z]?|[()]")


def name_of(symbol: str, bonded: Iterable[str]) -> str:
    """Name of the species of an atom, from its element and the names of the atoms that it is bonded to."""
    return f"{symbol}({''.join(sorted(bonded))})"


def element_of(name: str) -> str:
    """Element of a species."""
    return name.partition("(")[0]


def elements_among(names: Iterable[str]) -> tuple[str, ...]:
    """Elements of some species, each once, in their order."""
    return tuple(dict.fromkeys(map(element_of, names)))


def bonds_in(names: Iterable[str]) -> int:
    """How many bonds away an atom's surroundings count in these names; 0 for elements."""
    return max((_depth(name) for name in names), default=0)


def unknown_species(names: Iterable[str]) -> list[str]:
    """Those that are no name of a species."""
    return [name for name in names if not _is_name(name)]


def of_other_bonds(names: Iterable[str], bonds: int) -> list[str]:
    """Names that say more or less than what is so many bonds away; of a lone atom there is nothing to say."""
    return [name for name in names if _depth(name) != bonds and not (bonds and name == name_of(element_of(name), ()))]


def _is_name(name: str) -> bool:
    """Whether these are elements in well-formed brackets that are in order, and as deep in one place as in another."""
    parts = PARTS.findall(name)
    if "".join(parts) != name or not all(part in "()" or part in atomic_numbers for part in parts):
        return False
    try:
        read, end = _read(parts, 0)
    except (IndexError, ValueError):  # brackets that do not close, or as below
        return False
    return end == len(parts) and read == name


def _read(parts: Sequence[str], at: int) -> tuple[str, int]:
    """One name from a place on, as it should be written; and the place behind it."""
    symbol, at = parts[at], at + 1
    if symbol in "()":
        raise ValueError("no element")
    if parts[at : at + 1] != ["("]:
        return symbol, at
    bonded, at = [], at + 1
    while parts[at] != ")":
        inner, at = _read(parts, at)
        bonded.append(inner)
    if len({_depth(inner) for inner in bonded}) > 1:
        raise ValueError("not as deep everywhere")
    return name_of(symbol, bonded), at + 1


def _depth(name: str) -> int:
    deepest = depth = 0
    for letter in name:
        depth += (letter == "(") - (letter == ")")
        deepest = max(deepest, depth)
    return deepest

