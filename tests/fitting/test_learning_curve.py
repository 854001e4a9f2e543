"""The learning curve: what its rows hold, how it is written and shown."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ase_deeppot.fitting import learning_curve
from ase_deeppot.fitting.learning_curve import Row, SourceRow
from ase_deeppot.fitting.loss import Errors
from ase_deeppot.fitting.metrics import Accuracy
from ase_deeppot.fitting.validation import Validation


def errors(energy, force, virial, counts):
    sums = (torch.tensor(value, dtype=torch.float64) for value in (energy, force, virial))
    return Errors(*sums, torch.tensor(counts))


def test_training_errors_are_root_means_over_all_labels_since_the_last_row():
    running = torch.zeros(6, dtype=torch.float64)
    for part in (errors(2.0, 30.0, 0.0, [1, 6, 0]), errors(6.0, 10.0, 0.0, [3, 4, 0])):
        running = running + learning_curve.sums_of(part)
    row = learning_curve.row(7, running, None, 1e-3, 2.5)
    assert (row.step, row.lr, row.seconds) == (7, 1e-3, 2.5)
    assert (row.rmse_e_train, row.rmse_f_train) == pytest.approx((math.sqrt(2.0), 2.0), rel=1e-15)  # a last digit
    assert np.isnan([row.loss_val, row.rmse_v_train, row.rmse_e_val, row.rmse_f_val, row.rmse_s_val]).all()


def test_validation_errors_go_to_their_columns():
    names = ("energy", "forces", "stress")
    errors = tuple(Accuracy(name, "", rmse, 0.0, 1) for name, rmse in zip(names, (1.0, 2.0, 3.0), strict=True))
    validation = Validation(0.25, errors, {"a.xyz": errors, "b.xyz": errors[::-1]})
    row = learning_curve.row(1, torch.ones(6, dtype=torch.float64), validation, 1e-3, 0.0)
    assert (row.rmse_e_val, row.rmse_f_val, row.rmse_s_val, row.loss_val) == (1.0, 2.0, 3.0, 0.25)
    assert learning_curve.source_rows(7, validation) == [SourceRow(7, "a.xyz", 1.0, 2.0, 3.0),
                                                         SourceRow(7, "b.xyz", 3.0, 2.0, 1.0)]
    assert learning_curve.source_rows(7, validation._replace(by_source={"a.xyz": errors})) == []


def test_lines_by_source_go_to_a_file_of_their_own(tmp_path):
    row = Row(5, *[1.0] * 9)
    learning_curve.write(tmp_path, [row])
    assert not (tmp_path / learning_curve.SOURCES_FILE).exists()
    learning_curve.write(tmp_path, [row], [SourceRow(5, 'a "b", c.xyz', 0.5, math.nan, 0.25)])
    assert (tmp_path / "lcurve_sources.csv").read_text() == (
        'step,source,rmse_e,rmse_f,rmse_s\n5,"a ""b"", c.xyz",0.5,,0.25\n')


numbers = st.one_of(st.just(math.nan), st.floats(1e-12, 1e6))


@given(st.lists(st.tuples(st.integers(1, 10**7), *[numbers] * 9), max_size=4))
def test_what_is_written_is_read(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("curve")
    learning_curve.write(folder, [Row(*value) for value in values])
    rows = learning_curve.read(folder / learning_curve.FILE)
    assert [row.step for row in rows] == [value[0] for value in values]
    np.testing.assert_allclose(np.array(rows).reshape(-1, 10), np.array(values).reshape(-1, 10), rtol=1e-7)


def test_the_file_is_csv_with_a_header(tmp_path):
    learning_curve.write(tmp_path, [Row(500, 0.1, 0.2, math.nan, 0.4, math.nan, math.nan, 0.5, 1e-3, 12.25)])
    assert (tmp_path / "lcurve.csv").read_text() == (
        "step,rmse_e_val,rmse_e_train,rmse_f_val,rmse_f_train,rmse_s_val,rmse_v_train,loss_val,lr,seconds\n"
        "500,0.1,0.2,,0.4,,,0.5,0.001,12.25\n")
    assert [path.name for path in tmp_path.iterdir()] == ["lcurve.csv"]


@pytest.mark.parametrize("values", [
    Row(5, 0.001, 0.0001, 1.0, 0.5, math.nan, math.nan, 1.0, 1e-3, 1.0),
    Row(2_000_000, 123.4567, 1e-9, math.nan, 8765.4, 1.0, 1.0, 1.0, 1e-12, 1e5),
])
def test_lines_stand_below_their_header(values):
    first, second = learning_curve.HEADER.split("\n")
    line = learning_curve.line(values)
    assert len(line) == len(second) >= len(first)
    ends = [at + len(word) for word in ("step", "validation", "training", "lr") for at in _places(second, word)]
    assert all(line[end - 1] != " " and (end == len(line) or line[end] == " ") for end in ends)


def _places(text, word):
    return [at for at in range(len(text)) if text.startswith(word, at)]


def test_a_line_in_milli_units():
    row = Row(500, 0.0505, 0.311, math.nan, 0.19361, math.nan, math.nan, 1.0, 1.4e-3, 3.0)
    assert learning_curve.line(row).split() == ["500", "50.50", "311.0", "-", "193.6", "1.4e-03"]
