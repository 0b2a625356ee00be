"""Find the base, name it by a digest, and load it without running anybody's code."""

import hashlib
import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
# The configuration is among them: with another rope or head count the same weights are another model.
TOKENIZER = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.*",
    "merges.txt",
    "*.model",
)
_CHUNK = 1 << 20


class BaseError(ValueError):
    """Say in one line what is wrong with a base model and how to mend it."""


@dataclass(frozen=True)
class Base:
    """Hold a frozen network with its tokenizer; `path` is the local directory it came from."""

    network: Any
    tokenizer: Any
    path: Path


def resolve_base(path_or_id: str | Path) -> Path:
    """Give the local directory of a base, fetching a hub id's safetensors and tokenizer files if need be."""
    path = Path(path_or_id)
    if path.is_dir():
        return path
    name = str(path_or_id)
    if path.exists() or path.is_absolute() or name.startswith(".") or name.count("/") != 1:
        raise BaseError(f"{name}: no such model directory; give one with config.json, or a hub id owner/name")
    try:
        return Path(snapshot_download(name, allow_patterns=[*WEIGHTS, *TOKENIZER, "generation_config.json"]))
    except (OSError, ValueError, RuntimeError) as error:
        raise BaseError(f"{name}: neither a directory nor fetched from the hub ({_brief(error)})") from error


def compute_base_digest(path: Path) -> bytes:
    """Hash the weight, configuration and tokenizer files, sorted by name; 32 bytes.

    Each file counts with its name, its size and its SHA-256, and is read in pieces: memory does not grow with
    the model. BaseError when the directory holds no safetensors weights.
    """
    _check_weights(path)
    total = hashlib.sha256(b"openflock/base/1\n")
    for file in _list_files(path):
        inner = hashlib.sha256()
        with file.open("rb") as stream:
            while piece := stream.read(_CHUNK):
                inner.update(piece)
        entry = {"name": file.name, "size": file.stat().st_size, "sha256": inner.hexdigest()}
        total.update(json.dumps(entry, sort_keys=True).encode() + b"\n")
    return total.digest()


def load_base(path_or_id: str | Path, device: str = "cpu", dtype: torch.dtype | None = None) -> Base:
    """Load a base to train adapters on: safetensors only, never code from the model's directory.

    `device` is a torch device or "auto" (accelerate spreads the layers). Weights are float32 on a CPU, where
    bfloat16 is slow, and bfloat16 elsewhere, unless `dtype` says otherwise. Raises BaseError.
    """
    path = resolve_base(path_or_id)
    _check_weights(path)
    if dtype is None:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        network = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            device_map=None if device == "cpu" else device,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise BaseError(f"{path}: cannot load the base ({_brief(error)}); give a causal model") from error
    # Dropout in a base would make training depend on a random generator, so it stays in evaluation mode.
    network.eval().requires_grad_(False)
    return Base(network, tokenizer, path)


def _list_files(path: Path) -> list[Path]:
    files = (file for file in path.iterdir() if file.is_file())
    return sorted(
        (file for file in files if any(fnmatch(file.name, pattern) for pattern in (*WEIGHTS, *TOKENIZER))),
        key=lambda file: file.name,
    )


def _check_weights(path: Path) -> None:
    if not (path / "config.json").is_file():
        raise BaseError(f"{path}: no config.json; give the directory of a transformers model")
    if not any(path.glob("*.safetensors")):
        pickles = [file.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in path.glob(pattern)]
        found = f"only {pickles[0]}, which can run code" if pickles else "no weights"
        raise BaseError(f"{path}: {found}; convert the model to safetensors (save_pretrained does)")


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
