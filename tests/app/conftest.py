import logging

import pytest
import torch

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
