"""A base may be held in four bits; adapter, update and state stay what they are. `make test` runs these apart."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from openflock.learn.base import BaseError, load_base
from openflock.learn.data import parse_row
from openflock.learn.evaluate import compute_loss, match_answers
from openflock.learn.model import load_model
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings, train

SETTINGS = TrainSettings(steps=12, batch_size=4)


@pytest.fixture(scope="module")
def quantized(base_path):
    pytest.importorskip("bitsandbytes")
    return load_model(base_path, quantization="nf4")


@pytest.fixture
def rows():
    return [parse_row(row, "x:1") for row in generate_rows("reverse", 24, 1)]


def list_values(trained):
    return [values for matrices in trained.values() for values in matrices.values()]


def is_equal(one, other):
    return all(map(np.array_equal, list_values(one), list_values(other)))


def count_bytes(model):
    frozen = (weight for name, weight in model.network.named_parameters() if "layers" in name and "lora" not in name)
    return sum(weight.numel() * weight.element_size() for weight in frozen)


def test_a_quantized_base_is_smaller_has_the_same_layout_and_nearly_the_same_loss(model, quantized, start, rows):
    assert count_bytes(quantized) < count_bytes(model) / 7
    assert quantized.layout == model.layout
    for each in (model, quantized):
        each.load_state(start)
    assert compute_loss(quantized, rows) == pytest.approx(compute_loss(model, rows), rel=0.25)


def test_training_on_a_quantized_base_helps_and_judging_in_between_changes_no_bit(quantized, start, rows):
    quantized.load_state(start)
    before = compute_loss(quantized, rows)
    first = train(quantized, start, rows, SETTINGS, seed=1)
    assert compute_loss(quantized, rows) < before
    match_answers(quantized, rows)
    again = train(quantized, start, rows, SETTINGS, seed=1)
    assert is_equal(first, again)
    assert all(np.abs(values).max() > 0 for values in list_values(first))


def test_recomputing_works_on_a_quantized_base(quantized, start, rows):
    kept = train(quantized, start, rows, SETTINGS, seed=2)
    again = train(quantized, start, rows, TrainSettings(steps=12, batch_size=4, recompute=True), seed=2)
    assert is_equal(kept, again)


@pytest.mark.slow
def test_the_benchmark_of_a_70b_base_runs_whole_at_another_size(tmp_path):
    pytest.importorskip("bitsandbytes")
    script = Path(__file__).parents[2] / "benchmarks/seventy_b.py"
    sizes = ["--layers", "3", "--hidden", "128", "--heads", "4", "--key-heads", "2", "--between", "320"]
    command = [sys.executable, str(script), "--quick", "--json", str(tmp_path / "out.json"), *sizes]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["sizes"]["layers"] == 3
    assert report["adapter_numbers"] == {"A": 3 * 16 * (6 * 128 + 320), "B": 3 * 16 * (3 * 128 + 2 * 64 + 2 * 320)}
    assert all(goal["met"] for goal in report["goals"])
    assert len(set(report["scores"])) > 1


def test_without_the_library_one_line_says_what_to_install(base_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BaseError, match=r"bitsandbytes is missing; pip install '/path/to/checkout\[quantized\]'"):
        load_base(base_path, quantization="nf4")


def test_a_quantized_base_is_not_sharded_and_ranks_use_their_own_devices(base_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BaseError, match="not sharded; give each node one process"):
        load_base(base_path, quantization="nf4")
    with pytest.raises(BaseError, match="set device=auto"):
        load_base(base_path, "cuda" if not torch.cuda.is_available() else "cpu")
