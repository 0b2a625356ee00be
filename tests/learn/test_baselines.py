"""What others would do with the same rows: plain training of both factors."""

from dataclasses import replace

import numpy as np

from openflock.learn.baselines import read_adapter, train_plain
from openflock.learn.data import parse_row
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings

ROWS = [parse_row(row, "reverse") for row in generate_rows("reverse", 16, 1, "train")]
SHORT = TrainSettings(steps=3, batch_size=4)


def is_equal(one, other):
    return all(np.array_equal(one[factor][name], other[factor][name]) for factor in "AB" for name in one[factor])


def test_a_rate_falls_as_its_multiplier_says(model, start):
    adapter = read_adapter(start)
    held = train_plain(model, adapter, ROWS, SHORT, 1)
    first = train_plain(model, adapter, ROWS, replace(SHORT, steps=1), 1)
    assert is_equal(train_plain(model, adapter, ROWS, SHORT, 1, multiplier=lambda _step: 1.0), held)
    assert is_equal(train_plain(model, adapter, ROWS, SHORT, 1, multiplier=lambda step: float(step < 1)), first)
    assert not is_equal(first, held)


def test_both_factors_move(model, start):
    adapter = read_adapter(start)
    trained = train_plain(model, adapter, ROWS, SHORT, 1)
    assert all(
        not np.array_equal(trained[factor][name], adapter[factor][name]) for factor in "AB" for name in adapter["A"]
    )
