"""What passes a batch through the network: all that needs the base, and so all that a crew does together.

Each function works on one process's rows and gives an item for each; `crew.pass_rows` hands the rows out.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers.modeling_layers import GradientCheckpointingLayer

from openflock.learn.crew import sum_at_leader
from openflock.learn.encode import IGNORED, Batch
from openflock.learn.model import Model


@torch.no_grad()
def sum_losses(model: Model, batch: Batch) -> list[float]:
    """Sum the loss over each row's completion tokens, in nats."""
    logits, labels, rows = _compute_logits(model, batch)
    losses = cross_entropy(logits.float(), labels, reduction="none").double()
    sums: list[float] = losses.new_zeros(len(batch)).index_add_(0, rows, losses).tolist()
    return sums


@torch.no_grad()
def match_rows(model: Model, batch: Batch) -> list[bool]:
    """Say for each row whether every token of the completion is the likeliest after those before it."""
    logits, labels, rows = _compute_logits(model, batch)
    wrong = logits.argmax(dim=-1) != labels
    matches: list[bool] = torch.ones(len(batch), dtype=torch.bool).index_fill_(0, rows[wrong].cpu(), False).tolist()
    return matches


@torch.no_grad()
def grade_rows(model: Model, batch: Batch) -> list[tuple[float, bool]]:
    """Give for each row what `sum_losses` and `match_rows` give, in one pass."""
    logits, labels, rows = _compute_logits(model, batch)
    losses = cross_entropy(logits.float(), labels, reduction="none").double()
    sums = losses.new_zeros(len(batch)).index_add_(0, rows, losses)
    wrong = rows[logits.argmax(dim=-1) != labels].cpu()
    matches = torch.ones(len(batch), dtype=torch.bool).index_fill_(0, wrong, False)
    return list(zip(sums.tolist(), matches.tolist(), strict=True))


def add_gradients(model: Model, batch: Batch, total: int, recompute: bool) -> list[float]:
    """Add up at the leader the gradients of the mean loss over `total` tokens; give these rows' parts of that mean.

    Dividing by the tokens of all processes, not by those of each, makes the sum what one process computes.
    """
    with _recomputing(model.network) if recompute else nullcontext():
        logits, labels, rows = _compute_logits(model, batch)
        losses = cross_entropy(logits.float(), labels, reduction="none") / total
        torch.autograd.backward(losses.sum())
    moving = [parameter for parameter in model.adapter if parameter.requires_grad]
    for parameter in moving:  # rows that reach no token of an expert leave none, and all must add up the same list
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    sum_at_leader([parameter.grad for parameter in moving if parameter.grad is not None])
    parts: list[float] = losses.new_zeros(len(batch)).index_add_(0, rows, losses.detach()).tolist()
    return parts


@torch.no_grad()
def predict_first(model: Model, batch: Batch) -> list[torch.Tensor]:
    """Give the log likelihoods (vocabulary,) of each row's first completion token."""
    logits, _, rows = _compute_logits(model, batch)
    firsts = [int((rows == row).int().argmax()) for row in range(len(batch))]
    return list(logits[firsts].float().log_softmax(dim=-1).cpu())


def grade_embeddings(model: Model, batch: Batch) -> list[torch.Tensor]:
    """Give for each row the gradient (tokens, hidden) of its completion's log likelihood in what it embeds."""
    embedded: list[torch.Tensor] = []

    def keep(_layer: Any, _inputs: Any, output: torch.Tensor) -> None:
        embedded.append(output.requires_grad_())

    hook = model.network.get_input_embeddings().register_forward_hook(keep)
    model.trainable()  # the adapter needs no gradient of its own
    try:
        logits, labels, _ = _compute_logits(model, batch)
    finally:
        hook.remove()
    (gradient,) = torch.autograd.grad(-cross_entropy(logits.float(), labels, reduction="sum"), embedded)
    return list(gradient.float().cpu())


@torch.no_grad()
def generate_tokens(model: Model, batch: Batch, pad: int, max_new_tokens: int) -> list[list[int]]:
    """Continue prompts that are padded on the left, greedily."""
    answered = model.network.generate(
        input_ids=batch.tokens,
        attention_mask=batch.mask,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        pad_token_id=pad,
    )
    tokens: list[list[int]] = answered[:, batch.tokens.shape[1] :].tolist()
    return tokens


def _compute_logits(model: Model, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Compute the logits (tokens, vocabulary) of completion tokens only, their labels, and the rows they stand in.

    The output layer is left out where only prompts are: with a large vocabulary it is much of a small pass's time,
    and most of its memory.
    """
    counted = batch.labels != IGNORED
    width = counted.shape[1]
    first = int(counted.any(dim=0).int().argmax()) if counted.any() else width
    # A token's logits stand one place before it, and before the first completion token stands a prompt.
    output = model.network(
        input_ids=batch.tokens, attention_mask=batch.mask, logits_to_keep=width - first + 1, use_cache=False
    )
    counted = counted[:, first:].to(output.logits.device)
    labels = batch.labels[:, first:].to(output.logits.device)
    kept = output.logits[:, -(width - first + 1) : -1]
    return kept[counted], labels[counted], counted.nonzero()[:, 0]


@contextmanager
def _recomputing(network: Any) -> Iterator[None]:
    """Let layers compute their activations again in the backward pass; to ask each of them costs as much as a layer."""
    network.activation_checkpointing_enable({"use_reentrant": False})
    _set_training(network, True)
    try:
        yield
    finally:
        network.activation_checkpointing_disable()
        _set_training(network, False)


def _set_training(network: Any, wanted: bool) -> None:
    # Layers recompute in training mode only. Their parts stay in evaluation mode: dropout would add chance.
    for layer in network.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.training = wanted
