"""A node may be several processes that share one base; the settings, the update and the score stay the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from openflock.app.auditing import run_audit
from openflock.app.rundir import RunDirectory
from openflock.learn.encode import IGNORED, Batch

from .launched import work

LAUNCHED = Path(__file__).parent / "launched.py"
PARTED = Path(__file__).parent / "parted.py"

# The processes sum a gradient's rows in another order, which moves its last bits of float32, and Adam divides small
# gradients by themselves. An update's int8 step is 1/127 of its row's peak: here some 1,300 units of the state.
TOLERANCE = 32 * 2**-24


def launch(count, *command):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launcher, *map(str, command)], capture_output=True, timeout=300, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize("count", [pytest.param(2, marks=pytest.mark.long), 3])
def test_a_node_of_several_processes_trains_and_judges_as_one_does(base_path, tmp_path, count):
    work(base_path, tmp_path / "one.npz")
    assert launch(count, LAUNCHED, base_path, tmp_path / "all.npz").returncode == 0
    alone, together = np.load(tmp_path / "one.npz"), np.load(tmp_path / "all.npz")
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


@pytest.mark.slow
def test_a_crew_that_parts_leaves_no_thread_that_could_abort_a_process_as_it_ends():
    parted = launch(2, PARTED)
    assert parted.returncode == 0, parted.stderr


CONFIG = """
domains = ["reverse"]
nodes_per_domain = 3
device = "auto"
ledger = "spec"
rules = { rounds = 1 }
train = { steps = 1 }
rows = { train = 8, held_out = 4, report = 4 }
"""


@pytest.mark.long
def test_a_command_runs_under_a_launcher_as_it_is_and_its_errors_end_all_processes(tmp_path):
    config, out = tmp_path / "task.toml", tmp_path / "out"
    config.write_text(CONFIG)
    command = ["--no-python", Path(sys.executable).parent / "openflock", "simulate", config, "--out", out]
    run = launch(2, *command)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count(b"digest of the global state") == 1
    assert run_audit(RunDirectory(out), Console(quiet=True))["clean"]
    refused = launch(2, *command, "--set", "base=/gone", "--set", "seed=2")
    assert refused.returncode != 0


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
