"""Keep an interrupted training run, so that it ends at the bits it would have ended at."""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from openflock.learn.encode import Example
from openflock.update.codec import get_digest
from openflock.update.fixed import GlobalState

_FILE = "train.safetensors"  # tensors, and in its JSON header the step and what the run was called with
_log = logging.getLogger(__name__)

Parameters = Mapping[str, torch.nn.Parameter]


def compute_inputs_digest(
    state: GlobalState, examples: Sequence[Example], settings: Mapping[str, float], seed: int
) -> str:
    """Hash all that decides where a training run ends, but for the base and the machine; hexadecimal."""
    hasher = hashlib.sha256(get_digest(state))
    hasher.update(json.dumps([dict(settings), seed], sort_keys=True).encode())
    for example in examples:
        hasher.update(json.dumps([example.prompt, example.tokens]).encode())
    return hasher.hexdigest()


def write_checkpoint(
    directory: Path, inputs: str, step: int, parameters: Parameters, optimizer: torch.optim.Optimizer
) -> None:
    """Write parameters and the optimizer's moments after `step` steps; the file is replaced whole or not at all."""
    tensors = {}
    for name, parameter in parameters.items():
        tensors[f"{name}/weight"] = parameter.detach().cpu().contiguous()
        for key, value in optimizer.state[parameter].items():
            tensors[f"{name}/{key}"] = value.detach().cpu().contiguous()
    directory.mkdir(parents=True, exist_ok=True)
    partial = directory / f"{_FILE}.partial"
    with partial.open("wb") as stream:
        stream.write(save(tensors, metadata={"inputs": inputs, "step": str(step)}))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(directory / _FILE)


def read_checkpoint(directory: Path, inputs: str, parameters: Parameters, optimizer: torch.optim.Optimizer) -> int:
    """Restore parameters and moments, and give the steps done: 0 when there is no checkpoint of these inputs."""
    path = directory / _FILE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            if header.get("inputs") != inputs:
                _log.warning("%s: the checkpoint is of another run; starting anew", path)
                return 0
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        _log.warning("%s: the checkpoint cannot be read (%s); starting anew", path, error)
        return 0
    _restore(tensors, parameters, optimizer)
    return int(header["step"])


def remove_checkpoint(directory: Path) -> None:
    """Remove the checkpoint, and its directory when nothing else is in it."""
    for name in (_FILE, f"{_FILE}.partial"):
        (directory / name).unlink(missing_ok=True)
    if directory.is_dir() and not any(directory.iterdir()):
        directory.rmdir()


@torch.no_grad()
def _restore(tensors: dict[str, torch.Tensor], parameters: Parameters, optimizer: torch.optim.Optimizer) -> None:
    for name, parameter in parameters.items():
        parameter.copy_(tensors[f"{name}/weight"])
    stored = optimizer.state_dict()
    moments: dict[str, dict[str, torch.Tensor]] = {name: {} for name in parameters}  # sgd has none
    for path, tensor in tensors.items():
        name, key = path.rsplit("/", 1)
        if key != "weight":
            moments[name][key] = tensor
    stored["state"] = dict(enumerate(moments.values()))
    optimizer.load_state_dict(stored)
