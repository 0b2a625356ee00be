import logging
import sys

import pytest
import torch

from openflock.app.cli import main
from openflock.app.settings import parse_config
from openflock.app.simulate import simulate

torch.set_num_threads(1)

TABLE = {
    "title": "small", "domains": ["reverse", "shift"], "nodes_per_domain": 2, "max_length": 64, "ledger": "spec",
    "rank": 2, "alpha": 8, "train": {"steps": 2, "batch_size": 4}, "rows": {"train": 16, "held_out": 8, "report": 8},
    "rules": {"rounds": 2, "tolerance": 2000},
}  # fmt: skip
TOML = """
title = "small"
domains = ["reverse", "shift"]
max_length = 64
ledger = "spec"
rank = 2
alpha = 8
train = { steps = 2, batch_size = 4 }
rows = { train = 16, held_out = 8, report = 8 }
rules = { rounds = 2, tolerance = 2000 }
"""


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run, to read only."""
    from rich.console import Console

    logging.getLogger("accelerate").setLevel(logging.ERROR)
    path = tmp_path_factory.mktemp("app") / "run"
    simulate(parse_config(TABLE | {}), path, Console(quiet=True))
    return path


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(TOML)
    return file


@pytest.fixture
def call(monkeypatch, capfd):
    """The command in this process, where the heavy libraries are loaded already: exit code, stdout and stderr."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["openflock", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capfd.readouterr()
        return caught.value.code or 0, out, err

    return call


@pytest.fixture
def refuse(call):
    """The command where it must be refused: one line on stderr, nothing of a traceback, exit code 2; the line."""

    def refuse(*arguments):
        code, _, err = call(*arguments)
        assert code == 2, err
        assert err.startswith("openflock: ")
        assert err.count("\n") == 1, err
        return err

    return refuse
