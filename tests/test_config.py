from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.config import parse
from ase_deeppot.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    width: int = 3
    kind: Literal["smooth", "sharp"] = "smooth"


@dataclass(frozen=True)
class Options:
    name: str
    steps: int = 10
    rate: float = 1e-3
    verbose: bool = False
    neuron: tuple[int, ...] = (25, 50)
    window: tuple[float, float] = (0.0, 1.0)
    limit: float | None = None
    seed: int | str = 0
    table: dict = field(default_factory=dict)
    typed: Mapping[str, float] = field(default_factory=dict)
    anything: Any = None
    inner: Inner = field(default_factory=Inner)


def test_defaults_stay_where_nothing_is_given():
    assert parse(Options, {"name": "a"}) == Options("a")


@given(options=st.builds(
    Options, name=st.text(), steps=st.integers(), rate=st.floats(allow_nan=False), verbose=st.booleans(),
    neuron=st.lists(st.integers()).map(tuple), limit=st.none() | st.floats(allow_nan=False),
    seed=st.integers() | st.text(), inner=st.builds(Inner, st.integers(), st.sampled_from(["smooth", "sharp"]))))
def test_round_trip_through_plain_tables(options):
    assert parse(Options, asdict(options)) == options


def test_lists_become_tuples_and_whole_numbers_floats():
    parsed = parse(Options, {"name": "a", "neuron": [1, 2, 3], "window": [0, 2], "rate": 1, "limit": 3})
    assert parsed.neuron == (1, 2, 3)
    assert parsed.window == (0.0, 2.0)
    assert type(parsed.rate) is float
    assert type(parsed.limit) is float


def test_nested_tables():
    assert parse(Options, {"name": "a", "inner": {"width": 7}}).inner == Inner(7)


@pytest.mark.parametrize(("mapping", "message"), [
    ({"name": "a", "stesp": 5}, r"^unknown option 'stesp' in \[the input\]; did you mean 'steps'\?$"),
    ({"name": "a", "inner": {"wdith": 5}}, r"^unknown option 'wdith' in \[inner\]; did you mean 'width'\?$"),
    ({"name": "a", "inner": {"zzz": 5}}, r"^unknown option 'zzz' in \[inner\]; known: width, kind$"),
    ({}, r"^expected option 'name' in \[the input\], got none$"),
    ({"name": 3}, "^expected a string for 'name', got 3$"),
    ({"name": "a", "steps": 2.0}, "^expected a whole number for 'steps', got 2.0$"),
    ({"name": "a", "steps": True}, "^expected a whole number for 'steps', got True$"),
    ({"name": "a", "steps": "5"}, "^expected a whole number for 'steps', got '5'$"),
    ({"name": "a", "rate": "fast"}, "^expected a number for 'rate', got 'fast'$"),
    ({"name": "a", "rate": True}, "^expected a number for 'rate', got True$"),
    ({"name": "a", "verbose": 1}, "^expected true or false for 'verbose', got 1$"),
    ({"name": "a", "neuron": 5}, "^expected a list for 'neuron', got 5$"),
    ({"name": "a", "neuron": "25"}, "^expected a list for 'neuron', got '25'$"),
    ({"name": "a", "neuron": [1, "x"]}, r"^expected a whole number for 'neuron\[1\]', got 'x'$"),
    ({"name": "a", "window": [1.0]}, "^expected a list"),
    ({"name": "a", "limit": "x"}, "^expected a number or nothing for 'limit', got 'x'$"),
    ({"name": "a", "seed": 1.5}, "^expected a whole number or a string for 'seed', got 1.5$"),
    ({"name": "a", "table": 1}, "^expected a table for 'table', got 1$"),
    ({"name": "a", "typed": []}, r"^expected a table for 'typed', got \[\]$"),
    ({"name": "a", "inner": {"kind": "soft"}}, "^expected one of 'smooth', 'sharp' for 'inner.kind', got 'soft'$"),
    ({"name": "a", "inner": {"kind": ["smooth"]}}, "^expected one of 'smooth', 'sharp' for 'inner.kind'"),
    ({"name": "a", "inner": 5}, r"^expected a table for \[inner\], got 5$"),
    ([1, 2], "expected a table"),
    (None, "expected a table"),
], ids=str)
def test_what_is_refused_and_how(mapping, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse(Options, mapping)
    assert "\n" not in str(caught.value)


def test_the_name_of_the_table_is_in_the_message():
    with pytest.raises(ConfigError, match=r"unknown option 'x' in \[model card\]"):
        parse(Inner, {"x": 1}, "model card")
    with pytest.raises(ConfigError, match=r"for 'model card\.width'"):
        parse(Inner, {"width": "x"}, "model card")


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                          lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=6),
       key=st.sampled_from(list(Options.__dataclass_fields__)))
def test_any_value_is_taken_or_refused_by_name(value, key):
    try:
        parsed = parse(Options, {"name": "a", key: value})
    except ConfigError as error:
        parsed, message = None, str(error)
    assert isinstance(parsed, Options) or key in message
