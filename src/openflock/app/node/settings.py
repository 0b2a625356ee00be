"""What one node chooses for itself: a TOML file."""

from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from openflock.app.settings import Section, Training, check_table, read_table


class NodeConfig(Section):
    """The file that `--config` names; every key has a default."""

    device: str = "cpu"
    quantization: Literal["none", "nf4"] = "none"  # of the base, as this node holds it
    threads: PositiveInt = 1  # of torch
    held_out: PositiveInt = 48  # rows to judge with, never trained on
    rank: NonNegativeInt = 0  # of what it adds where updates are stacked; 0 is the task's
    interval: PositiveFloat | None = None  # seconds between two looks at the chain; follows from the task if not said
    max_fee: PositiveFloat = 300  # gwei for a unit of gas: what a lying endpoint can make this node burn, at most
    probe: bool = False  # search updates for backdoors: two to three times the work of judging, and a bond to accuse
    train: Training = Training()


def load_node_config(path: Path | None) -> NodeConfig:
    """Read a node's configuration file; raise SettingsError."""
    return NodeConfig() if path is None else check_table(NodeConfig, read_table(path), str(path))
