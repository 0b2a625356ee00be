"""Does a node of one GPU do a round on a base of 70B parameters, in what memory and time?

Builds the shape of Llama-3-70B with random weights, its linear layers in four bits (NF4), layer by layer on the device:
never more than one layer exists in 16 bits. Then the product's own code does what a node does in a round, with LoRA of
rank 16 on all linear layers: four proposers take inner steps and encode their updates, a voter admits and judges each
at its share, compares them, and merges them into the next state. Tokens are those that pass, padding not counted.

One H200 (141 GB): python benchmarks/seventy_b.py --json seventy_b.json
Any computer:      python benchmarks/seventy_b.py --quick

Sizes may be given: --layers 80 --hidden 8192 --heads 64 --key-heads 8 --between 28672 --vocabulary 128256 --length 512
--steps 5 --device cuda; --quick means small ones, on the CPU.
"""

import argparse
import random
import resource
import string
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from _harness import Goal, finish, parse_arguments, show_table
from accelerate import init_empty_weights
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
from transformers.integrations import replace_with_bnb_linear

from openflock.learn.base import Base, build_quantization, keep_trainable
from openflock.learn.data import Row
from openflock.learn.encode import encode_rows
from openflock.learn.evaluate import EvaluationSettings, compute_loss, relative_score
from openflock.learn.model import Model
from openflock.learn.train import TrainSettings
from openflock.node.proposer import Proposer
from openflock.update.admission import check_admission
from openflock.update.aggregate import compute_share, stream_candidate
from openflock.update.codec import Update, digest, hash_stream
from openflock.update.fixed import GlobalState, initial_state
from openflock.update.geometry import compute_products
from openflock.update.robust import compute_plan

FULL = {"layers": 80, "hidden": 8192, "heads": 64, "key_heads": 8, "between": 28672, "vocabulary": 128256}
FULL |= {"length": 512, "steps": 5}
SMALL = {"layers": 2, "hidden": 256, "heads": 8, "key_heads": 2, "between": 896, "vocabulary": 2048}
SMALL |= {"length": 64, "steps": 2}
RANK, ALPHA, BATCH, PROPOSERS, TRAIN_ROWS, VOTER_ROWS = 16, 32, 4, 4, 32, 16
CEILING = 2**40  # random weights: no norm is refused
GIB = 2**30
GPU_GOAL = 141e9 / GIB  # of an H200
SIZE_GOAL = 1.03


@dataclass
class Parts:
    """What each part of the round took."""

    device: torch.device
    rows: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure a part; one measured before goes on."""
        self.wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        yield
        self.wait()
        self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Note a part that ends now; the host's peak is of the whole time until now."""
        row = self.rows.setdefault(name, {"seconds": 0.0, "gpu_gib": 0.0, "host_gib": 0.0})
        gpu = torch.cuda.max_memory_allocated() / GIB if self.device.type == "cuda" else 0.0
        row["seconds"] += seconds
        row["gpu_gib"] = max(row["gpu_gib"], gpu)
        row["host_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB

    def wait(self) -> None:
        """Let the device finish what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Build, train, judge, merge; show and write what each took."""
    sizes = parse_sizes()
    args = parse_arguments(__doc__)
    sizes = argparse.Namespace(**((SMALL if args.quick else FULL) | {k: v for k, v in vars(sizes).items() if v}))
    device = torch.device(getattr(sizes, "device", "cpu" if args.quick else "cuda"))
    parts = Parts(device)
    with parts("build"):
        model = build_model(sizes, device)
    state = initial_state(model.layout, b"seventy_b")
    tokens: dict[str, int] = {}
    blobs = [propose(parts, model, state, sizes, seed, tokens) for seed in range(PROPOSERS)]
    updates, scores = judge(parts, model, state, blobs, sizes, tokens)
    merged = merge(parts, state, blobs, updates)
    parameters = sum(module.outputs * module.inputs for module in model.layout.modules)
    report = {
        "sizes": vars(sizes),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "parameters": parameters + 2 * sizes.vocabulary * sizes.hidden,
        "parts": parts.rows,
        "tokens_per_second": {name: count / parts.rows[name]["seconds"] for name, count in tokens.items()},
        "update_bytes": [len(blob) for blob in blobs],
        "adapter_numbers": {name: vector.size for name, vector in state.factors.items()},
        "scores": scores,
        "digest": merged.hex(),
    }
    show(report)
    finish(args, list_goals(report, state), report)


def parse_sizes() -> argparse.Namespace:
    """Take the sizes from the command line, and leave the rest of it to the harness."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in FULL:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--device")
    sizes, sys.argv[1:] = parser.parse_known_args()
    return sizes


# --- The base ------------------------------------------------------------------------------------------------


def build_model(sizes: argparse.Namespace, device: torch.device) -> Model:
    """Build a quantized base with random weights, and put an adapter on it."""
    torch.manual_seed(0)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    config = LlamaConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.between,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.key_heads,
        max_position_embeddings=8192,
        rope_parameters={"rope_type": "default", "rope_theta": 500_000.0},
    )
    with init_empty_weights(include_buffers=False):
        network = AutoModelForCausalLM.from_config(config, dtype=dtype)
    replace_with_bnb_linear(network, ["lm_head"], build_quantization(dtype))
    for module in network.modules():
        fill(module, device, dtype)
    network.is_loaded_in_4bit = True  # what from_pretrained says, and peft asks
    network.eval().requires_grad_(False)
    keep_trainable(network)
    path = Path(str(files("openflock") / "assets" / "base"))
    return Model(Base(network, AutoTokenizer.from_pretrained(path), path), RANK, ALPHA)


def fill(module: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Give a module random weights on the device; a quantized layer's exist in 16 bits for that moment only."""
    import bitsandbytes as bnb

    for name, weight in list(module.named_parameters(recurse=False)):
        drawn = torch.randn(weight.shape, device=device, dtype=dtype).mul_(0.02)
        if isinstance(module, bnb.nn.Linear4bit):
            kept = bnb.nn.Params4bit(drawn, requires_grad=False, quant_type="nf4", compress_statistics=True).to(device)
        else:
            kept = torch.nn.Parameter(drawn if weight.dim() > 1 else torch.ones_like(drawn), requires_grad=False)
        setattr(module, name, kept)
    for name, buffer in list(module.named_buffers(recurse=False)):
        setattr(module, name, buffer.to(device))


def make_rows(count: int, length: int, seed: int) -> list[Row]:
    """Make rows that fill the length: a fourth of each is the completion. The tokenizer knows letters."""
    draw = random.Random(seed)
    texts = ["".join(draw.choices(string.ascii_lowercase, k=length)) for _ in range(count)]
    return [Row((("user", text[length // 4 :]),), text[: length // 4]) for text in texts]


# --- The round -----------------------------------------------------------------------------------------------


def propose(
    parts: Parts, model: Model, state: GlobalState, sizes: argparse.Namespace, seed: int, tokens: dict[str, int]
) -> bytes:
    """Train and encode an update."""
    rows = make_rows(TRAIN_ROWS, sizes.length, seed)
    settings = TrainSettings(sizes.steps, BATCH, max_length=sizes.length, recompute=True)
    before = sum(part["seconds"] for part in parts.rows.values())
    start = time.perf_counter()
    blob = Proposer(rows, settings, watch=parts).make_update(model, state, CEILING, seed)
    # What is not training: rounding the delta to an update and encoding it.
    training = sum(part["seconds"] for part in parts.rows.values()) - before
    parts.add("compression", time.perf_counter() - start - training)
    each = count_tokens(model, rows, sizes.length) / TRAIN_ROWS
    tokens["training"] = tokens.get("training", 0) + round(each * BATCH * sizes.steps)
    return blob


def judge(
    parts: Parts,
    model: Model,
    state: GlobalState,
    blobs: Sequence[bytes],
    sizes: argparse.Namespace,
    tokens: dict[str, int],
) -> tuple[list[Update], list[int]]:
    """Judge all updates on rows of a voter's own."""
    rows = make_rows(VOTER_ROWS, sizes.length, PROPOSERS)
    settings = EvaluationSettings(batch_size=8, max_length=sizes.length)
    with parts("evaluation of the state"):
        model.load_state(state)
        before = compute_loss(model, rows, settings)
    updates, scores = [], []
    for blob in blobs:
        with parts("admission"):
            updates.append(check_admission(state, blob, CEILING))
        with parts("share"):
            share = compute_share(state, updates[-1], Fraction(1, len(blobs)))
        with parts("switching"):
            model.load_state(share)
        with parts("evaluation"):
            scores.append(relative_score(before, compute_loss(model, rows, settings), before))
    each = count_tokens(model, rows, sizes.length)
    tokens |= {"evaluation": each * len(blobs), "evaluation of the state": each}
    return updates, scores


def merge(parts: Parts, state: GlobalState, blobs: Sequence[bytes], updates: Sequence[Update]) -> bytes:
    """Compare the updates, plan the merge, and hash the next state as it streams."""
    with parts("comparison"):
        products = compute_products(state, updates)
    with parts("merge"):
        plan = compute_plan(state.recipe, [1] * len(updates), products, [digest(blob) for blob in blobs])
        return hash_stream(stream_candidate(state, updates, plan))


def count_tokens(model: Model, rows: Sequence[Row], length: int) -> int:
    """Count the tokens of rows."""
    return sum(len(example.tokens) for example in encode_rows(model.tokenizer, rows, length))


# --- What is said of it --------------------------------------------------------------------------------------


def show(report: dict[str, Any]) -> None:
    """Print the parts' table and the sizes."""
    rates = report["tokens_per_second"]
    rows = [
        (
            name,
            f"{part['seconds']:.2f}",
            f"{rates[name]:.0f}" if name in rates else "",
            f"{part['gpu_gib']:.1f}",
            f"{part['host_gib']:.1f}",
        )
        for name, part in report["parts"].items()
    ]
    title = f"{report['parameters'] / 1e9:.2f}B parameters in NF4, LoRA of rank {RANK}, {PROPOSERS} proposers"
    show_table(title, ("", "seconds", "tokens/s", "peak GPU GiB", "peak host GiB"), rows)
    print(f"bytes of an update: {max(report['update_bytes']):,}; scores: {report['scores']}")


def list_goals(report: dict[str, Any], state: GlobalState) -> list[Goal]:
    """Say what must hold: it fits, the updates are small, and training moved something."""
    (factor,) = state.trained
    size = max(report["update_bytes"]) / state.factors[factor].size
    peak = max(part["gpu_gib"] for part in report["parts"].values())
    moved = sum(score != 0 and isfinite(score) for score in report["scores"])
    goals = [
        Goal("bytes of an update for each trained number", size, f"<= {SIZE_GOAL}", size <= SIZE_GOAL),
        Goal("updates that move the voter's loss", moved, f"{PROPOSERS}", moved == PROPOSERS),
    ]
    if report["device"] != "cpu":
        goals.append(Goal("peak GPU memory, GiB", peak, f"<= {GPU_GOAL:.0f}", peak <= GPU_GOAL))
    return goals


if __name__ == "__main__":
    main()
