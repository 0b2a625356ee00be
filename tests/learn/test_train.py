import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn import train as learning
from openflock.learn.checkpoint import read_checkpoint
from openflock.learn.data import DataError, Row, parse_row
from openflock.learn.evaluate import compute_accuracy, compute_loss
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainError, TrainSettings, pick_batch, take_rows
from openflock.update.fixed import initial_state, to_fixed

SHORT = TrainSettings(steps=7, batch_size=4, checkpoint_every=2)


def make_rows(skill, count=64, split="train"):
    return [parse_row(row, skill) for row in generate_rows(skill, count, 1, split)]


def train(model, state, *arguments, **named):
    """What the round trains, where that is one factor."""
    (trained,) = learning.train(model, state, *arguments, **named).values()
    return trained


def is_equal(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def advance(state, trained):
    (factor,) = state.trained
    vector = state.layout.join(factor, {name: to_fixed(values) for name, values in trained.items()})
    return dataclasses.replace(state, step=state.step + 1, factors={**state.factors, factor: vector})


class Interrupted(Exception):
    pass


def interrupt_at(last):
    def on_step(step, loss):
        if step == last:
            raise Interrupted

    return on_step


def test_the_factor_whose_turn_it_is_changes_and_the_other_stays_to_the_bit(model, start):
    rows = make_rows("reverse")
    trained = train(model, start, rows, SHORT, seed=1)
    assert any(values.any() for values in trained.values())
    assert is_equal({name: to_fixed(values) for name, values in model.read_factor("A").items()}, start.get_factor("A"))
    second = advance(start, trained)
    before = {name: to_fixed(values) for name, values in trained.items()}
    third = train(model, second, rows, SHORT, seed=1)
    assert not is_equal({name: to_fixed(values) for name, values in third.items()}, start.get_factor("A"))
    assert is_equal({name: to_fixed(values) for name, values in model.read_factor("B").items()}, before)


def test_the_base_itself_never_changes(model, start):
    frozen = {name: weight.clone() for name, weight in model.network.named_parameters() if "lora" not in name}
    train(model, start, make_rows("sort"), SHORT, seed=1)
    after = dict(model.network.named_parameters())
    assert all(after[name].equal(weight) for name, weight in frozen.items())


def test_the_same_arguments_give_the_same_bits_and_another_seed_gives_others(model, start):
    rows = make_rows("shift")
    first = train(model, start, rows, SHORT, seed=5)
    train(model, start, make_rows("sort"), SHORT, seed=5)
    assert is_equal(first, train(model, start, rows, SHORT, seed=5))
    assert not is_equal(first, train(model, start, rows, SHORT, seed=6))


def test_computing_activations_again_changes_no_bit(model, start):
    rows = make_rows("upper")
    kept = train(model, start, rows, SHORT, seed=2)
    layer, calls = model.network.model.layers[1].input_layernorm, []
    hook = layer.register_forward_hook(lambda *_: calls.append(1))
    again = train(model, start, rows, dataclasses.replace(SHORT, recompute=True), seed=2)
    assert len(calls) == 2 * SHORT.steps
    compute_loss(model, rows)
    hook.remove()
    assert is_equal(kept, again)
    assert not any(module.training for module in model.network.modules())


@pytest.mark.parametrize(("last", "kind"), [*((last, "adam") for last in range(1, SHORT.steps + 1)), (5, "sgd")])
def test_a_run_interrupted_at_any_step_ends_at_the_same_bits(model, start, tmp_path, last, kind):
    rows, settings = make_rows("upper"), dataclasses.replace(SHORT, optimizer=kind)
    whole = train(model, start, rows, settings, seed=3)
    with pytest.raises(Interrupted):
        train(model, start, rows, settings, seed=3, checkpoint=tmp_path / "run", on_step=interrupt_at(last))
    train(model, start, make_rows("sort"), SHORT, seed=9)
    seen = []
    resumed = train(
        model,
        start,
        rows,
        settings,
        seed=3,
        checkpoint=tmp_path / "run",
        on_step=lambda step, loss: seen.append(step),
    )
    assert is_equal(resumed, whole)
    assert seen == list(range(last - last % 2 + 1, SHORT.steps + 1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("changed", ["seed", "settings", "rows", "state"])
def test_a_checkpoint_of_another_run_is_ignored_and_said_so(model, start, tmp_path, caplog, changed):
    rows = make_rows("upper", 16)
    with pytest.raises(Interrupted):
        train(model, start, rows, SHORT, seed=3, checkpoint=tmp_path, on_step=interrupt_at(5))
    arguments = {"state": start, "rows": rows, "settings": SHORT, "seed": 3}
    arguments |= {
        "seed": {"seed": 4},
        "settings": {"settings": dataclasses.replace(SHORT, learning_rate=1e-3)},
        "rows": {"rows": rows[1:]},
        "state": {"state": dataclasses.replace(start, step=2)},
    }[changed]
    seen = []
    train(model, **arguments, checkpoint=tmp_path, on_step=lambda step, loss: seen.append(step))
    assert seen == list(range(1, SHORT.steps + 1))
    assert "of another run; starting anew" in caplog.text


def test_a_torn_checkpoint_is_ignored_and_said_so(model, start, tmp_path, caplog):
    (tmp_path / "train.safetensors").write_bytes(b"torn")
    assert read_checkpoint(tmp_path, "x", {}, None) == 0
    assert "cannot be read" in caplog.text


@given(count=st.integers(1, 12), size=st.integers(1, 9), seed=st.integers(0, 2**64))
def test_every_epoch_shows_every_row_once(count, size, seed):
    drawn = [item for step in range(count) for item in pick_batch(range(count), size, seed, step)]
    for epoch in range(size):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))


@given(st.integers(1, 30), st.integers(1, 12))
def test_short_rounds_walk_through_all_rows_and_long_ones_take_all(count, size):
    rows = list(range(count))
    rounds = [take_rows(rows, TrainSettings(1, size), step) for step in range(count)]
    if size >= count:
        assert rounds == [rows] * count
    else:
        walked = [row for taken in rounds for row in taken]
        assert all(sorted(walked[first : first + count]) == rows for first in range(0, len(walked), count))


def test_a_step_of_sgd_is_as_long_as_its_rate(model):
    start = initial_state(model.layout, b"gradient")
    short, long = (
        train(model, start, make_rows("sort"), TrainSettings(1, learning_rate=rate, optimizer="sgd"), seed=1)
        for rate in (0.25, 0.5)
    )
    for name, matrix in long.items():  # of B, which begins at zero
        np.testing.assert_allclose(matrix, 2 * short[name], rtol=1e-6)


def test_what_cannot_be_trained_is_refused(model, start):
    with pytest.raises(DataError, match="no rows"):
        train(model, start, [], SHORT, seed=1)
    with pytest.raises(TrainError, match=r"the loss is (nan|inf) at step \d; lower the learning rate"):
        train(model, start, make_rows("sort"), dataclasses.replace(SHORT, learning_rate=1e30), seed=1)
    for name in ("steps", "batch_size", "checkpoint_every"):
        with pytest.raises(ValueError, match=name):
            TrainSettings(**{name: 0})


def test_progress_is_reported_with_a_falling_loss(model, start):
    losses = []
    row = Row((("user", "Reverse: kitab"),), "batik")
    train(model, start, [row], SHORT, seed=1, on_step=lambda step, loss: losses.append(loss))
    assert len(losses) == SHORT.steps
    assert losses[-1] < losses[0]


def test_training_one_skill_visibly_helps_it(model, start):
    rows, judged = make_rows("reverse", 400), make_rows("reverse", 150, "validation")
    model.load_state(start)
    loss, accuracy = compute_loss(model, judged), compute_accuracy(model, judged)
    state = start
    for turn in range(2):
        state = advance(state, train(model, state, rows, TrainSettings(), seed=turn))
    model.load_state(state)
    assert compute_loss(model, judged) < 0.8 * loss
    assert compute_accuracy(model, judged) > accuracy + 0.1


@pytest.mark.long
def test_merging_four_nodes_of_four_skills_helps_all_four_in_every_round(model, start):
    skills = ("reverse", "sort", "upper", "shift")
    rows = {skill: make_rows(skill, 400) for skill in skills}
    judged = {skill: make_rows(skill, 100, "validation") for skill in skills}
    model.load_state(start)
    before = {skill: compute_loss(model, judged[skill]) for skill in skills}
    state = start
    for turn in range(2):
        trained = [train(model, state, rows[skill], TrainSettings(), seed=turn) for skill in skills]
        # One factor is frozen, so the plain mean is exact; openflock.update does it in integers.
        mean = {name: np.mean([each[name] for each in trained], axis=0) for name in trained[0]}
        state = advance(state, mean)
        model.load_state(state)
        after = {skill: compute_loss(model, judged[skill]) for skill in skills}
        assert all(after[skill] < before[skill] for skill in skills)
    assert sum(after.values()) < 0.95 * sum(before.values())


def test_what_adjusts_a_step_stands_between_the_gradient_and_the_step(model, start):
    rows, seen = make_rows("reverse"), []

    def erase(parameters):
        seen.append(any(parameter.grad.any() for parameter in parameters))
        for parameter in parameters:
            parameter.grad.zero_()

    still = train(model, start, rows, SHORT, seed=1, adjust=erase)
    assert seen == [True] * SHORT.steps
    assert not any(values.any() for values in still.values())  # B began at zero
    plain = train(model, start, rows, SHORT, seed=1)
    assert is_equal(plain, train(model, start, rows, SHORT, seed=1, adjust=lambda parameters: None))
