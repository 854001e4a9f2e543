"""README and docs are programs: their Python blocks run, their options are the code's, their links lead somewhere."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from ase_deeppot.fitting.config import FittingConfig

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")], key=lambda page: page.name)
BLOCKS = [(page, n, code) for page in PAGES
          for n, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # docs/model_file.md calls torch.jit.load
@pytest.mark.parametrize(("page", "n", "code"), BLOCKS, ids=[f"{page.stem}-{n}" for page, n, _ in BLOCKS])
def test_python_block_runs(page, n, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"{page.name}, block {n}", "exec"), {})


def test_there_are_blocks():
    assert len(BLOCKS) > 4


def option_names(kind):
    for name, hint in typing.get_type_hints(kind).items():
        for inner in typing.get_args(hint) or (hint,):
            if dataclasses.is_dataclass(inner):
                yield from option_names(inner)
        if name in {field.name for field in dataclasses.fields(kind)}:
            yield name


def test_every_option_is_documented():
    text = (ROOT / "docs" / "fitting.md").read_text()
    missing = [name for name in option_names(FittingConfig) if not re.search(rf"\b{name}\b", text)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
