"""Where updates are stacked, the state stands frozen beside a fresh adapter of any rank."""

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from openflock.learn.data import parse_row
from openflock.learn.evaluate import compute_loss
from openflock.learn.export import export_adapter
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings, train
from openflock.node.proposer import compute_delta
from openflock.protocol.recipe import Recipe
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import digest, encode_update, get_digest, make_update
from openflock.update.fixed import initial_state
from openflock.update.robust import compute_plan

# PEFT asks transformers for a name that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


def make_rows(count=64, split="train"):
    return [parse_row(row, "x:1") for row in generate_rows("reverse", count, 1, split)]


@pytest.fixture
def start(model):
    return initial_state(model.layout, b"stack", Recipe(mode="stack"))


def propose(model, state, rank, seed):
    settings = TrainSettings(steps=20, learning_rate=4e-3, rank=rank)
    return make_update(state, compute_delta(state, train(model, state, make_rows(), settings, seed)))


def merge(state, updates):
    none = np.zeros((len(updates), len(updates)), object)
    digests = [digest(encode_update(update)) for update in updates]
    return compute_candidate(state, updates, compute_plan(state.recipe, [1] * len(updates), none, digests))


@pytest.fixture
def grown(model, start):
    return merge(start, [propose(model, start, rank, seed) for seed, rank in enumerate((3, 0))])


def test_nodes_of_different_ranks_learn_together_round_after_round(model, start, grown):
    model.load_state(start)
    losses = [compute_loss(model, make_rows(24, "validation"))]
    assert grown.layout.width == 3 + model.layout.rank
    for state in (grown, merge(grown, [propose(model, grown, 2, 7)])):
        model.load_state(state)
        losses.append(compute_loss(model, make_rows(24, "validation")))
    assert losses[0] > losses[1] > losses[2]


def test_an_empty_state_changes_nothing_and_can_be_left_again(model, start, grown):
    plain = initial_state(model.layout, b"plain")
    rows = make_rows(8)
    model.load_state(plain)
    before = compute_loss(model, rows)
    for state in (start, grown):
        model.load_state(state)
        assert (compute_loss(model, rows) == before) == (state is start)
    model.load_state(plain)
    assert compute_loss(model, rows) == before


def test_only_the_components_asked_for_are_trained_and_the_past_stays(model, grown):
    learned = train(model, grown, make_rows(), TrainSettings(steps=3, rank=2), seed=5)
    for name, matrix in learned["B"].items():
        assert matrix.shape == (matrix.shape[0], 2)
        assert matrix.any()
        assert learned["A"][name].shape[0] == 2
    assert not any(matrix[2:].any() for matrix in model.read_factor("A").values())
    assert not any(matrix[:, 2:].any() for matrix in model.read_factor("B").values())
    again = train(model, grown, make_rows(), TrainSettings(steps=3, rank=2), seed=5)
    assert all(np.array_equal(again[f][name], learned[f][name]) for f in "AB" for name in learned[f])


@pytest.mark.parametrize("is_empty", [False, True])
def test_peft_computes_the_same_from_the_exported_adapter(model, base_path, start, grown, is_empty, tmp_path):
    state = start if is_empty else grown
    export_adapter(state, tmp_path, str(base_path), get_digest(state))
    exported = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base_path, dtype=torch.float32), tmp_path)
    model.load_state(state)
    tokens = torch.tensor([[1, 5, 9, 12, 7]])
    with torch.no_grad():
        assert torch.allclose(exported(tokens).logits, model.network(tokens).logits, atol=1e-4)
