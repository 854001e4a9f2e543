"""README and docs are programs: their Python blocks run, their options are the code's, their links lead somewhere."""

import re
from pathlib import Path

import pytest

from ase_deeppot.fitting.config import FittingConfig
from ase_deeppot.schema import as_markdown

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")], key=lambda page: page.name)
BLOCKS = [(page, n, code) for page in PAGES
          for n, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))]
LONG = ("deepmd-0", "fitting-0")  # they train


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # docs/model_file.md calls torch.jit.load
@pytest.mark.parametrize(("page", "n", "code"), [
    pytest.param(*block, id=f"{block[0].stem}-{block[1]}",
                 marks=[pytest.mark.slow] if f"{block[0].stem}-{block[1]}" in LONG else []) for block in BLOCKS])
def test_python_block_runs(page, n, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"{page.name}, block {n}", "exec"), {})


def test_there_are_blocks():
    assert len(BLOCKS) > 4


def test_the_table_of_options_is_that_of_the_code():
    """After a change of options: deeppot schema --markdown, into docs/fitting.md."""
    text = (ROOT / "docs" / "fitting.md").read_text()
    table = text.split("<!-- options -->\n")[1].split("<!-- end of options -->")[0]
    assert table == as_markdown(FittingConfig)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_tables_of_accuracy_are_those_of_the_results(monkeypatch):
    """After new results: python benchmarks/accuracy.py --table, into docs/accuracy.md."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import accuracy_table

    text = (ROOT / "docs" / "accuracy.md").read_text()
    table = text.split("<!-- accuracy -->\n")[1].split("<!-- end of accuracy -->")[0]
    assert table == accuracy_table.markdown(accuracy_table.read(ROOT / "benchmarks" / "results" / "accuracy.csv"))
