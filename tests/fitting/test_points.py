"""What a picture shows of many labels: a sample drawn evenly, and the worst, however they came."""

import numpy as np
import pytest

from ase_deeppot.fitting.metrics import Parity, accuracy
from ase_deeppot.fitting.points import Points, drawn


def parity(count, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(float(count))  # tells which they are
    return Parity("forces", "eV/A", label, label + rng.normal(size=count))


def points(whole, edges, **limits):
    kept = Points("forces", "eV/A", **limits)
    for start, stop in zip([0, *edges], [*edges, len(whole.label)], strict=True):
        kept.add(whole._replace(label=whole.label[start:stop], prediction=whole.prediction[start:stop]))
    return kept.drawn(accuracy(whole))


def test_a_few_are_all_there_in_their_order():
    whole = parity(50)
    kept = points(whole, [7, 7, 30])
    assert kept.errors == drawn(whole).errors == accuracy(whole)
    for name in ("label", "prediction"):
        np.testing.assert_array_equal(getattr(kept.sample, name), getattr(whole, name))
        np.testing.assert_array_equal(getattr(drawn(whole).sample, name), getattr(whole, name))
    assert len(kept.worst.label) == len(drawn(whole).worst.label) == 0


@pytest.mark.parametrize("edges", [[], [1, 2, 3], [500, 501, 3000], list(range(100, 4000, 100))])
def test_many_are_a_sample_that_does_not_depend_on_the_parts(edges):
    whole = parity(4000)
    kept, at_once = points(whole, edges, largest_sample=1000, worst=5), points(whole, [], largest_sample=1000, worst=5)
    assert len(kept.sample.label) == 1000
    for one, other in zip(kept[:2], at_once[:2], strict=True):
        np.testing.assert_array_equal(one.label, other.label)
        np.testing.assert_array_equal(one.prediction, other.prediction)
    assert (np.diff(kept.sample.label) > 0).all()
    in_tenths = np.histogram(kept.sample.label, bins=10, range=(0, 4000))[0]
    assert (np.abs(in_tenths - 100) < 40).all()  # four standard deviations


def test_the_worst_are_shown_in_any_case():
    whole = parity(4000)
    kept = points(whole, range(100, 4000, 100), largest_sample=1000, worst=5)
    order = np.argsort(-np.abs(whole.prediction - whole.label))
    shown = {*kept.sample.label.astype(int), *kept.worst.label.astype(int)}
    assert {*order[:5].tolist()} <= shown
    assert 0 < len(kept.worst.label) <= 5
    assert set(kept.worst.label.astype(int)) <= {*order[:5].tolist()}
