"""Average float32 adapters as others do; run as a process of its own, in the environment of the rival.

    python benchmarks/_average.py torch|flower FILE...

Prints the seconds of the averaging itself, reading the files included.
"""

import sys
import time
from pathlib import Path


def average_torch(paths: list[Path]) -> object:
    """Average state dicts key by key, as federated scripts around PEFT do."""
    import torch
    from safetensors.torch import load_file

    states = [load_file(path) for path in paths]
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def average_flower(paths: list[Path]) -> object:
    """Average with the function that Flower's FedAvg calls on its clients' replies."""
    from flwr.app import ArrayRecord, MetricRecord, RecordDict
    from flwr.serverapp.strategy.strategy_utils import aggregate_arrayrecords
    from safetensors.torch import load_file

    replies = [
        RecordDict({"arrays": ArrayRecord(load_file(path)), "metrics": MetricRecord({"examples": 1})}) for path in paths
    ]
    return aggregate_arrayrecords(replies, "examples")


def main() -> None:
    """Average once, after the imports."""
    import torch

    torch.set_num_threads(1)
    rival = {"torch": average_torch, "flower": average_flower}[sys.argv[1]]
    if sys.argv[1] == "flower":
        import flwr.serverapp.strategy  # noqa: F401 - imported before the clock starts
    start = time.perf_counter()
    rival([Path(name) for name in sys.argv[2:]])
    print(time.perf_counter() - start)


if __name__ == "__main__":
    main()
