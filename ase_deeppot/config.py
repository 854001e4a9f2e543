"""Configuration from files and keywords into frozen dataclasses, refusing what is not known by name.

Each option is declared once, with its default, meaning and range: checks, ``deeppot schema`` and docs read that.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from ase_deeppot.errors import ConfigError

T = TypeVar("T")


def option(default: Any, meaning: str, *, least: float | None = None, above: float | None = None,
           below: float | None = None, imported: bool = False) -> Any:
    """Declare an option of a configuration dataclass.

    Parameters
    ----------
    default : value or callable
        The default, or a function that makes it (a dataclass for a table, ``dict`` for free keys).
    meaning : str
        What it is, for users: plain text of one line.
    least, above, below : float, optional
        Limits ``least <= value``, ``above < value`` and ``value < below``; see :func:`check_ranges`.
    imported : bool
        Whether only models that were read from files of others have it: nothing to be chosen.
    """
    metadata = {"meaning": meaning, "least": least, "above": above, "below": below, "imported": imported}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(config: Any, prefix: str = "") -> None:
    """Refuse numbers outside of the ranges that their options were declared with, in nested tables too.

    Raises
    ------
    ConfigError
        With the full name of the option.
    """
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.")
        elif not _within(value, field.metadata):
            raise ConfigError(f"expected {range_text(name, field.metadata)}, got {value}")


def range_text(name: str, limits: Mapping[str, Any]) -> str:
    """``'0 <= name < 1'``, or ``'name > 0'``: what ``name`` should be."""
    low, high, above = limits.get("least"), limits.get("below"), limits.get("above")
    if high is None:
        return name + (f" >= {low:g}" if low is not None else f" > {above:g}")
    return (f"{low:g} <= " if low is not None else f"{above:g} < ") + f"{name} < {high:g}"


def _within(value: Any, limits: Mapping[str, Any]) -> bool:
    low, high, above = limits.get("least"), limits.get("below"), limits.get("above")
    return (low is None or value >= low) and (above is None or value > above) and (high is None or value < high)


def parse(kind: type[T], mapping: Mapping[str, Any], where: str = "") -> T:
    """Build the dataclass ``kind`` from a mapping, nested tables into nested dataclasses.

    A field may hold one of several dataclasses: each has a field ``kind``, a literal of its names. A
    dataclass with defaults that depend on what else is given adds them in ``completed(mapping)``.

    Parameters
    ----------
    kind : type
        A dataclass whose fields are scalars, tuples, mappings or dataclasses.
    mapping : mapping
        Option names and values, as TOML or JSON gives them.
    where : str
        Name of the table, for messages.

    Raises
    ------
    ConfigError
        For an unknown key (with the nearest known one), or a value of the wrong type.
    """
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"expected a table for [{where}], got {mapping!r}")
    mapping = getattr(kind, "completed", lambda given: given)(mapping)
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    for key in mapping:
        if key not in names:
            raise ConfigError(_unknown(key, names, where))
    values = {key: _convert(hints[key], value, f"{where}.{key}" if where else key) for key, value in mapping.items()}
    missing = [field.name for field in dataclasses.fields(kind)  # type: ignore[arg-type]
               if field.name not in values and field.default is dataclasses.MISSING
               and field.default_factory is dataclasses.MISSING]
    if missing:
        raise ConfigError(f"expected option '{missing[0]}' in [{where or 'the input'}], got none")
    return kind(**values)


def _unknown(key: str, names: list[str], where: str) -> str:
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(names)}"
    return f"unknown option '{key}' in [{where or 'the input'}]; {hint}"


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return parse(typing.cast(type, hint), value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if origin is typing.Literal:
        return _expect(value in arguments, hint, value, where)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin in (dict, Mapping) or hint in (dict, Mapping):
        _expect(isinstance(value, Mapping), hint, value, where)
        kind_of_value = arguments[1] if arguments else Any
        return {key: _convert(kind_of_value, item, f"{where}.{key}") for key, item in value.items()}
    if hint is float:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return float(_expect(numeric, hint, value, where))
    if hint is Any:
        return value
    exact = isinstance(value, hint) and not (hint is int and isinstance(value, bool))
    return _expect(exact, hint, value, where)


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if all(map(dataclasses.is_dataclass, arguments)):
        return parse(_chosen(arguments, value, where), value, where)
    for argument in arguments:
        try:
            return None if argument is type(None) and value is None else _convert(argument, value, where)
        except ConfigError:
            continue
    names = " or ".join(_name(argument) for argument in arguments)
    raise ConfigError(f"expected {names} for '{where}', got {value!r}")


def _chosen(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """The dataclass one of whose names the table has as its ``kind``, the first if it has none."""
    names = {name: kind for kind in kinds for name in typing.get_args(typing.get_type_hints(kind)["kind"])}
    name = value.get("kind", next(iter(names))) if isinstance(value, Mapping) else next(iter(names))
    return names[_convert(typing.Literal[tuple(names)], name, f"{where}.kind")]


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _expect(isinstance(value, list | tuple), tuple, value, where)
    if arguments[-1] is Ellipsis:
        return tuple(_convert(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    _expect(len(value) == len(arguments), tuple, value, where)
    return tuple(_convert(hint, item, where) for hint, item in zip(arguments, value, strict=True))


def _expect(condition: bool, hint: Any, value: Any, where: str) -> Any:
    if not condition:
        raise ConfigError(f"expected {_name(hint)} for '{where}', got {value!r}")
    return value


def _name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    known = {tuple: "a list", dict: "a table", Mapping: "a table", float: "a number", int: "a whole number",
             str: "a string", bool: "true or false", type(None): "nothing"}
    return known.get(typing.get_origin(hint) or hint, str(hint))
