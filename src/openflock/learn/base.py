"""Find the base, name it by a digest, and load it without running anybody's code."""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.distributed import DistributedConfig
from transformers.utils import logging as transformers_logging

from openflock.learn.crew import count_crew

Quantization = Literal["none", "nf4"]
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


def load_base(
    path_or_id: str | Path,
    device: str = "cpu",
    dtype: torch.dtype | None = None,
    quantization: Quantization = "none",
) -> Base:
    """Load a base to train adapters on: safetensors only, never code from the model's directory.

    `device` is a torch device or "auto" (accelerate spreads the layers). Weights are float32 on a CPU, where
    bfloat16 is slow, and bfloat16 elsewhere, unless `dtype` says otherwise; with a `quantization` the linear layers'
    are four bits, made of the same files layer by layer. Where a launcher started several processes, each reads and
    holds its shard. Raises BaseError.
    """
    path = resolve_base(path_or_id)
    _check_weights(path)
    if dtype is None:
        on_cpu = device == "cpu" or not torch.accelerator.is_available()
        dtype = torch.float32 if on_cpu else torch.bfloat16
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, local_files_only=True)
        network = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            **_place(device, dtype, quantization),
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise BaseError(f"{path}: cannot load the base ({_brief(error)}); give a causal model") from error
    # Dropout in a base would make training depend on a random generator, so it stays in evaluation mode.
    network.eval().requires_grad_(False)
    if quantization != "none":
        keep_trainable(network)
    return Base(network, tokenizer, path)


def _place(device: str, dtype: torch.dtype, quantization: Quantization) -> dict[str, Any]:
    """Say in transformers' words where the weights go and what becomes of them."""
    if count_crew() == 1 and quantization == "none":
        return {"device_map": None if device == "cpu" else device}
    if count_crew() == 1:
        return {"device_map": device, "quantization_config": build_quantization(dtype)}
    own = torch.accelerator.current_accelerator() or torch.device("cpu")
    if quantization != "none":
        raise BaseError("quantization: a quantized base is not sharded; give each node one process")
    if device != "auto" and torch.device(device).type != own.type:
        raise BaseError(f"device: {device}, but each process uses its own {own.type}; set device=auto")
    return {"distributed_config": DistributedConfig(fsdp_size=count_crew())}


def build_quantization(dtype: torch.dtype) -> BitsAndBytesConfig:
    """Describe QLoRA's form (arXiv 2305.14314): NF4 in blocks of 64, whose scales are quantized again."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise BaseError("quantization: bitsandbytes is missing; pip install '/path/to/checkout[quantized]'")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def keep_trainable(network: Any) -> None:
    """Let gradients pass through quantized layers on every processor."""
    # On processors with AVX512-BF16 bitsandbytes packs a layer anew in its first evaluation, and no gradient passes
    # through a packed layer, in silence.
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


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
