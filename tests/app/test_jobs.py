"""`simulate --jobs`: processes that train and judge for the nodes, and change nothing but the time."""

import pytest
from rich.console import Console

from openflock.app.settings import parse_config
from openflock.app.simulate import simulate
from openflock.learn.train import TrainError

from .conftest import TABLE

QUIET = Console(quiet=True)


@pytest.mark.slow
def test_two_jobs_write_the_same_log_and_blobs_as_one(finished, tmp_path):
    path = tmp_path / "run"
    simulate(parse_config(TABLE | {}), path, QUIET, jobs=2)
    assert (path / "events.jsonl").read_bytes() == (finished / "events.jsonl").read_bytes()
    blobs = [{file.name for file in (run / "blobs").iterdir()} for run in (path, finished)]
    assert blobs[0] == blobs[1]


@pytest.mark.slow
def test_a_training_that_fails_in_another_process_is_told_as_in_ones_own(tmp_path):
    table = TABLE | {"train": {"steps": 2, "learning_rate": 1e30}}
    with pytest.raises(TrainError, match="lower the learning rate"):
        simulate(parse_config(table), tmp_path / "run", QUIET, jobs=2)
