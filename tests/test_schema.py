"""The printed options: complete, as they are in the code, and an input that can be used."""

import dataclasses
import tomllib
import typing
from typing import Literal

import pytest

from ase_deeppot.config import check_ranges, option, parse
from ase_deeppot.errors import ConfigError
from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.potential.config import LocalFrameConfig, ModelConfig
from ase_deeppot.schema import as_markdown, as_toml, options


@dataclasses.dataclass(frozen=True)
class Inner:
    fraction: float = option(0.25, "a share", least=0, below=1)
    names: tuple[str, ...] = option(("a", "b"), "some | names")


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = option(Inner, "a table")
    count: int = option(3, "how many", above=0)
    kind: Literal["x", "y"] = option("x", "which")
    weights: dict[str, float] = option(dict, "of each")


def test_toml_says_name_default_type_range_and_meaning():
    assert as_toml(Outer) == (
        "# how many (whole number > 0)\ncount = 3\n"
        "# which (\"x\" or \"y\")\nkind = \"x\"\n"
        "# of each (table of numbers)\nweights = {}\n"
        "\n[inner]\n# a share (number >= 0, < 1)\nfraction = 0.25\n"
        "# some | names (list of strings)\nnames = [\"a\", \"b\"]\n")


def test_markdown_is_tables():
    assert as_markdown(Outer).splitlines()[-4:] == [
        "| option | default | type | meaning |", "|---|---|---|---|",
        "| `fraction` | `0.25` | number >= 0, &lt; 1 | a share |",
        "| `names` | `[\"a\", \"b\"]` | list of strings | some \\| names |"]


def test_what_is_printed_is_an_input_of_defaults():
    assert parse(FittingConfig, tomllib.loads(as_toml(FittingConfig))) == FittingConfig()


def test_every_option_is_there_and_means_something():
    def kinds(field):  # a list of tables is one option
        return [] if typing.get_origin(field.type) is tuple else typing.get_args(field.type) or [field.type]

    def count(kind):
        inner = [part for field in dataclasses.fields(kind) for part in kinds(field) if dataclasses.is_dataclass(part)]
        tables = sum(any(map(dataclasses.is_dataclass, kinds(field))) for field in dataclasses.fields(kind))
        chosen = [field for field in dataclasses.fields(kind) if not field.metadata.get("imported")]
        return len(chosen) - tables + sum(map(count, inner))
    printed = list(options(FittingConfig, every=True))
    assert len(printed) == count(FittingConfig) > 40
    assert all(entry.meaning and "\n" not in entry.meaning for entry in printed)
    assert len({(entry.table, entry.name) for entry in printed}) == len(printed)


def test_an_input_has_the_options_of_the_kind_that_an_instance_has():
    config = FittingConfig(model=ModelConfig(descriptor=LocalFrameConfig(sel_a={"O": 3})))
    text = as_toml(FittingConfig, config)
    assert 'kind = "local_frame"' in text
    assert "rcut_smth" not in text
    assert parse(FittingConfig, tomllib.loads(text)) == config


@pytest.mark.parametrize(("config", "message"), [
    (Outer(count=0), "expected count > 0, got 0"),
    (Outer(inner=Inner(fraction=1.0)), "expected 0 <= inner.fraction < 1, got 1.0"),
    (Outer(inner=Inner(fraction=float("nan"))), "expected 0 <= inner.fraction < 1, got nan"),
])
def test_ranges(config, message):
    check_ranges(Outer())
    with pytest.raises(ConfigError) as caught:
        check_ranges(config)
    assert str(caught.value) == message
