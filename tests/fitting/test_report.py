"""The report: one file that needs no other, with the numbers of the model that was written."""

import errno
import os
import re
import sys
from html.parser import HTMLParser

import pytest
from ase.io import write

from ase_deeppot.fitting import fit, report
from ase_deeppot.fitting.breakdown import breakdown
from ase_deeppot.fitting.datasets import Dataset
from ase_deeppot.fitting.metrics import predict
from ase_deeppot.fitting.sources import read_frames
from ase_deeppot.potential.archive import load_model

MONITOR = {"plot": True, "report": True}


class Balanced(HTMLParser):
    """Checks that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def run(tiny, alloys, tmp_path_factory):
    """A run on a file with a broken frame, validated with two sources, and these."""
    folder = tmp_path_factory.mktemp("run")
    images = alloys(14, seed=1)
    images[3].calc.results["forces"][:2] += [[300.0, 0, 0], [-300.0, 0, 0]]
    write(folder / "<data> & more.traj", images)
    for n in (2, 3):
        write(folder / f"held{n}.traj", alloys(4, seed=n))
    held_out = [str(folder / f"held{n}.traj") for n in (2, 3)]
    return fit(str(folder / "<data> & more.traj"), held_out, output=str(folder / "out"), quiet=True,
               **tiny(monitor=MONITOR)), held_out


def test_the_page(run):
    result, held_out = run
    out = result.model.parent
    text = (out / "report.html").read_text()
    page = Balanced(text)
    images = [attributes for tag, attributes in page.seen if tag == "img"]
    assert len(images) == 2 + 6  # curves, errors, worst frames
    assert all(attributes["src"].startswith("data:image/png;base64,iVBOR") for attributes in images)
    assert "http" not in text
    assert "src=" not in re.sub(r'src="data:', "", text)
    assert "&lt;data&gt; &amp; more.traj frame 3: a force of " in text
    model, frames = load_model(result.model), read_frames(held_out)[0]
    predictions = predict([model], Dataset(frames, model.card.type_map, model.card.rcut))
    for entry in breakdown(frames, predictions, model.card.type_map):
        if entry.group in ("all", "source"):
            assert f"<td>{1e3 * entry.errors.rmse:.4g}</td>" in text
    for part in ("held2.traj: forces", "Settings", "fitting_net", "steps = 12", "Worst validation frames"):
        assert part in text
    assert (out / "learning_curve.png").exists()
    assert (out / "train.log").read_text().endswith(f"wrote {out}/report.html\n")


def test_worst_frames_come_first(run):
    text = (run[0].model.parent / "report.html").read_text()
    captions = re.findall(r"<figcaption>.*?forces ([\d.e+]+) meV/A", text)
    errors = list(map(float, captions))
    assert errors == sorted(errors, reverse=True)
    assert len(errors) == report.WORST


@pytest.mark.parametrize("properties", [("energy",), ("forces",)])
def test_without_validation_or_some_labels(train, alloys, tmp_path, properties):
    train(alloys(3, properties=properties), monitor=MONITOR, data={"validation_fraction": 0.0})
    text = (tmp_path / "out" / "report.html").read_text()
    Balanced(text)
    assert ("Worst training frames" in text) == ("forces" in properties)


def test_without_matplotlib(train, alloys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    train(alloys(5), monitor=MONITOR)
    text = (tmp_path / "out" / "report.html").read_text()
    Balanced(text)
    assert "<img" not in text
    assert "No pictures: matplotlib is not installed." in text
    assert "Worst validation frames" in text


def test_a_report_that_cannot_be_written_costs_nothing(train, alloys, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(report, "write_atomically", full)
    assert train(alloys(5), monitor={"plot": False, "report": True}).model.exists()
    assert (tmp_path / "out" / "train.log").read_text().endswith("report.html (No space left on device)\n")
