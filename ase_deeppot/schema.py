"""Every option of a configuration dataclass with default, type and meaning, as TOML and as tables for the docs."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Option(NamedTuple):
    """One option, for readers."""

    table: str  # 'model.descriptor'; empty for those of no table
    name: str
    default: str  # as TOML
    type: str
    meaning: str


def options(kind: type, table: str = "", values: Any = None, every: bool = False) -> Iterator[Option]:
    """All options of a dataclass and of the dataclasses in it, those of a table before those of the tables within.

    Their defaults are those of the code, or the values that an instance has. Of a table of one of several kinds, the
    options of the first one, or of all with ``every``.
    """
    hints, nested = typing.get_type_hints(kind), []
    for field in dataclasses.fields(kind):
        if field.metadata.get("imported"):
            continue
        kinds = _dataclasses_in(hints[field.name])
        if kinds:
            inside = getattr(values, field.name) if values is not None else None
            name = f"{table}.{field.name}" if table else field.name
            nested += [(one, name + _of_kind(one, kinds), inside) for one in _chosen(kinds, inside, every)]
            continue
        made = field.default_factory
        default = made() if made is not dataclasses.MISSING else field.default
        default = default if values is None else getattr(values, field.name)
        yield Option(table, field.name, _toml(default), type_text(hints[field.name]) + _range(field.metadata),
                     field.metadata["meaning"])
    for inner, name, inside in nested:
        yield from options(inner, name, inside, every)


def _dataclasses_in(hint: Any) -> list[Any]:
    """Those that a field may hold: one or several kinds of a table."""
    if typing.get_origin(hint) is tuple:
        return []  # a list of tables, written in one line
    return [kind for kind in (typing.get_args(hint) or (hint,)) if dataclasses.is_dataclass(kind)]


def _chosen(kinds: list[Any], inside: Any, every: bool) -> list[Any]:
    return kinds if every else [kinds[0] if inside is None else type(inside)]


def _of_kind(kind: Any, kinds: list[Any]) -> str:
    """What is added to the name of a table of another kind than the first."""
    return "" if kind is kinds[0] else f" of kind {kind.kind}"


def as_toml(kind: type, values: Any = None) -> str:
    """An input with every option at its default, or with the values of an instance, and what each means."""
    lines: list[str] = []
    for table, group in _by_table(kind, values).items():
        lines += [f"\n[{table.split()[0]}]"] if table else []
        for option in group:
            lines += [f"# {option.meaning} ({option.type})", f"{option.name} = {option.default}"]
    return "\n".join(lines).strip() + "\n"


def as_markdown(kind: type) -> str:
    """Tables for the documentation."""
    blocks = []
    for table, group in _by_table(kind, every=True).items():
        title = " ".join([f"`[{table.split()[0]}]`", *table.split()[1:]]) if table else "Above all tables"
        rows = [f"| `{option.name}` | `{option.default}` | {_escaped(option.type)} | "
                f"{_escaped(option.meaning)} |" for option in group]
        blocks.append("\n".join([title, "", "| option | default | type | meaning |", "|---|---|---|---|", *rows]))
    return "\n\n".join(blocks) + "\n"


def type_text(hint: Any) -> str:
    """The name of a type, for users."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " or ".join(json.dumps(choice) for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(type_text, arguments))
    if origin is tuple:
        alike = len(set(arguments) - {...}) == 1
        return f"list of {_several(arguments[0])}" if alike else f"[{', '.join(map(type_text, arguments))}]"
    if origin in (dict, Mapping):
        return f"table of {_several(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return "table"
    return {str: "string", int: "whole number", float: "number", bool: "true or false"}[hint]


def _several(hint: Any) -> str:
    """The name of a type in the plural."""
    text = type_text(hint)
    if text.startswith("list of"):
        return "lists" + text.removeprefix("list")
    return text if text.endswith("]") else text + "s"


def _range(limits: Mapping[str, Any]) -> str:
    shown = {"least": ">=", "above": ">", "below": "<"}
    bounds = [f"{sign} {limits[key]:g}" for key, sign in shown.items()
              if limits.get(key) is not None and math.isfinite(limits[key])]
    return f" {', '.join(bounds)}" if bounds else ""


def _by_table(kind: type, values: Any = None, every: bool = False) -> dict[str, list[Option]]:
    tables: dict[str, list[Option]] = {}
    for option in options(kind, values=values, every=every):
        tables.setdefault(option.table, []).append(option)
    return tables


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)  # strings, numbers and booleans look the same in TOML


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")
