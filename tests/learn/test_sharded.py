"""A node may be several processes that share one base; the settings, the update and the score stay the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from openflock.learn.encode import IGNORED, Batch

from .launched import work

LAUNCHED = Path(__file__).parent / "launched.py"

# The processes sum a gradient's rows in another order, which moves its last bits of float32, and Adam divides small
# gradients by themselves. An update's int8 step is 1/127 of its row's peak: here some 1,300 units of the state.
TOLERANCE = 32 * 2**-24


def launch(count, base, out, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    subprocess.run(
        [*command, str(LAUNCHED), str(base), str(out), *arguments],
        check=True,
        capture_output=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return np.load(out)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_a_node_of_several_processes_trains_and_judges_as_one_does(base_path, tmp_path, count):
    work(base_path, tmp_path / "one.npz")
    alone, together = np.load(tmp_path / "one.npz"), launch(count, base_path, tmp_path / "all.npz")
    assert alone.keys() == together.keys()
    trained = [name for name in alone if name.endswith("_proj")]
    assert len(trained) == 28
    for name in trained:
        assert np.abs(alone[name]).max() > 1e3 * TOLERANCE / 127
        assert np.abs(alone[name] - together[name]).max() <= TOLERANCE
    assert together["before"] == pytest.approx(alone["before"], rel=1e-6)
    assert together["after"] == pytest.approx(alone["after"], rel=1e-6)
    assert alone["after"] < alone["before"]
    assert np.array_equal(alone["matches"], together["matches"])
    assert np.array_equal(alone["answers"], together["answers"])


@pytest.mark.parametrize(("rows", "parts"), [(5, 2), (2, 2), (1, 3), (7, 3)])
def test_a_batch_is_cut_into_parts_that_hold_each_row_once(rows, parts):
    tokens = torch.arange(rows * 4).reshape(rows, 4)
    batch = Batch(tokens, torch.ones_like(tokens), tokens.clone())
    pieces = batch.split(parts)
    assert len(pieces) == parts
    assert all(len(piece) for piece in pieces)
    real = pieces[:rows]
    assert torch.equal(torch.cat([piece.tokens for piece in real]), tokens)
    assert torch.equal(torch.cat([piece.labels for piece in real]), tokens)
    assert all((piece.labels == IGNORED).all() for piece in pieces[rows:])
