import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from openflock.learn.base import load_base
from openflock.learn.data import parse_row
from openflock.learn.encode import collate, encode_rows
from openflock.learn.evaluate import compute_loss
from openflock.learn.export import export_adapter
from openflock.learn.model import Model
from openflock.learn.skills import generate_rows
from openflock.update.fixed import initial_state

# PEFT 0.21 asks transformers 5.23 for an attribute under its former name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def draw_state(model):
    fresh = initial_state(model.layout, b"export")
    drawn = np.random.default_rng(1).integers(-(2**18), 2**18, fresh.factors["B"].shape).astype(np.int32)
    return replace(fresh, step=3, factors={**fresh.factors, "B": drawn})


@pytest.fixture
def rows():
    return [parse_row(row, "x:1") for row in generate_rows("reverse", 20, 1, "test")]


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "model.layers.1.mlp.up_proj")])
def test_peft_loads_the_directory_with_the_same_loss(base_path, tmp_path, rows, targets):
    model = Model(load_base(base_path), rank=4, alpha=12, targets=targets)
    model.load_state(initial_state(model.layout, b"export"))
    untouched = compute_loss(model, rows)
    state = draw_state(model)
    model.load_state(state)
    wanted = compute_loss(model, rows)
    assert abs(wanted - untouched) > 0.01
    export_adapter(state, tmp_path / "adapter", str(base_path), b"\1" * 32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        base = AutoModelForCausalLM.from_pretrained(base_path, dtype=torch.float32)
        loaded = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    assert not [str(each.message) for each in caught if "key" in str(each.message)]
    batch = collate(encode_rows(model.tokenizer, rows, 256), 0)
    with torch.no_grad():
        found = loaded(input_ids=batch.tokens, attention_mask=batch.mask, labels=batch.labels).loss.item()
    assert found == pytest.approx(wanted, abs=1e-3)
    adapted = {name for name, _ in loaded.named_parameters() if "lora_" in name}
    assert len(adapted) == 2 * len(model.layout.modules)


def test_the_card_names_base_and_digests(model, start, tmp_path):
    export_adapter(start, tmp_path, "owner/name", b"\1" * 32, b"\2" * 32)
    card = (tmp_path / "README.md").read_text()
    assert 'base_model: "owner/name"' in card
    assert ("01" * 32) in card
    assert ("02" * 32) in card
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
