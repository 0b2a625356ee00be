from dataclasses import replace
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.arena.attacks.targeted import scale_delta
from openflock.learn.probe import Clue
from openflock.learn.train import take_rows, train
from openflock.learn.vaccine import vaccinate
from openflock.node.feedback import Feedback
from openflock.node.proposer import Proposer, add_rests, compute_delta, fit_ceiling, hold, offer_rests
from openflock.protocol.recipe import Recipe
from openflock.update.admission import Inadmissible, check_admission, compute_squared_size
from openflock.update.codec import decode_update, digest, encode_update, get_digest, make_update
from openflock.update.compress import FORMS
from openflock.update.fixed import FACTORS, Layout, Module, initial_state, to_fixed, to_float

from .helpers import SHORT, get_model, get_rows

LAYOUT = Layout((Module("a.k", 60, 5), Module("a.q", 40, 3)), rank=2, alpha=4)
STATES = {encoding: initial_state(LAYOUT, b"seed", Recipe(encoding=encoding)) for encoding in FORMS}
START = STATES["int8"]
encodings = st.sampled_from(list(FORMS))


def draw_delta(seed, size, state=START):
    chance = np.random.default_rng(seed)
    return {f: chance.integers(-size, size, LAYOUT.compute_size(f), endpoint=True) for f in state.trained}


def read_whole(update):
    return {f: update.read(f, 0, LAYOUT.compute_size(f)).astype(np.int64) for f in update.parts}


def measure(state, update):
    """The norm that admission compares, in its units, rounded up."""
    return isqrt(int(compute_squared_size(state, update) * 4**16)) + 1


def test_an_update_under_the_ceiling_is_left_as_it_is():
    delta = draw_delta(1, 1000)
    fitted, held = fit_ceiling(START, delta, 2**40)
    assert encode_update(fitted) == encode_update(make_update(START, delta))
    assert held["B"].tolist() == delta["B"].tolist()


@pytest.mark.parametrize("share", [2, 10, 1000])
@pytest.mark.parametrize("encoding", ["int8", "int4"])
def test_a_large_honest_update_comes_under_the_ceiling_and_keeps_its_direction(encoding, share):
    state, delta = STATES[encoding], draw_delta(2, 2**24)
    ceiling = measure(state, make_update(state, delta)) // share
    update, held = fit_ceiling(state, delta, ceiling)
    check_admission(state, encode_update(update), ceiling)
    assert measure(state, update) > 0.9 * ceiling
    before, after = delta["B"].astype(float), read_whole(update)["B"].astype(float)
    assert before @ after / np.sqrt((before @ before) * (after @ after)) > (0.999 if encoding == "int8" else 0.98)
    assert encode_update(make_update(state, held)) == encode_update(update)
    assert (np.abs(held["B"]) <= np.abs(delta["B"])).all()


@given(encodings, st.integers(0, 2**32), st.integers(1, 33), st.integers(1, 2**30))
@settings(max_examples=60)
def test_any_delta_is_admissible_at_any_ceiling(encoding, seed, bits, ceiling):
    state = STATES[encoding]
    update, _ = fit_ceiling(state, hold(state, draw_delta(seed, 2**bits)), ceiling)
    check_admission(state, encode_update(update), ceiling)


@pytest.mark.parametrize("ceiling", [1, 2, 3, 100])
@pytest.mark.parametrize("encoding", FORMS)
def test_a_tiny_ceiling_ends_at_an_update_that_fits(encoding, ceiling):
    state = STATES[encoding]
    update, _ = fit_ceiling(state, hold(state, draw_delta(3, 2**31)), ceiling)
    check_admission(state, encode_update(update), ceiling)


def test_the_other_factor_is_fitted_as_well():
    ones = np.full(LAYOUT.compute_size("B"), 1 << 24, np.int32)
    state = replace(START, step=1, factors={**START.factors, "B": ones})
    update, _ = fit_ceiling(state, hold(state, draw_delta(4, 2**28, state)), 2**10)
    assert list(update.parts) == ["A"]
    check_admission(state, encode_update(update), 2**10)


@pytest.mark.parametrize("ceiling", [1, 100, 2**10, 2**20])
def test_two_factors_are_fitted_together(ceiling):
    state = initial_state(LAYOUT, b"seed", Recipe("separate"))
    ones = np.full(LAYOUT.compute_size("B"), 1 << 24, np.int32)
    state = replace(state, factors={**state.factors, "B": ones})
    update, _ = fit_ceiling(state, hold(state, draw_delta(4, 2**28, state)), ceiling)
    assert update.parts.keys() == {"A", "B"}
    check_admission(state, encode_update(update), ceiling)


def test_a_short_round_trains_on_its_rows_and_no_others():
    rows, others = get_rows(0, count=24), get_rows(1, count=24)
    start = initial_state(get_model().layout, b"seed")
    taken = take_rows(rows, SHORT, 0)
    assert len(taken) < len(rows)
    mixed = [row if row in taken else other for row, other in zip(rows, others, strict=True)]
    blobs = {Proposer(each, SHORT).make_update(get_model(), start, 1 << 20, 1) for each in (rows, mixed)}
    assert len(blobs) == 1
    assert blobs != {Proposer(others, SHORT).make_update(get_model(), start, 1 << 20, 1)}


@pytest.mark.parametrize("encoding", FORMS)
def test_a_delta_beyond_what_an_update_holds_saturates(encoding):
    state, largest = STATES[encoding], FORMS[encoding].largest
    for sign in (1, -1):
        delta = {"B": np.full(LAYOUT.compute_size("B"), sign * 2**40)}
        numbers = read_whole(make_update(state, hold(state, delta)))["B"]
        assert set(numbers.tolist()) <= {0, sign * largest}
        assert numbers[0] == sign * largest


def test_what_did_not_move_is_no_part_of_the_delta():
    # 2**30 + 1 does not fit float32: taken exactly, the rounding would look like training.
    state = replace(START, factors={**START.factors, "B": START.factors["B"] + np.int32(2**30 + 1)})
    seen = {name: to_float(array) for name, array in state.get_factor("B").items()}
    assert not compute_delta(state, {"B": seen})["B"].any()
    moved = {name: array + np.float32(1) for name, array in seen.items()}
    wanted = {name: to_fixed(moved[name]).astype(np.int64) - to_fixed(seen[name]) for name in seen}
    assert compute_delta(state, {"B": moved})["B"].tolist() == LAYOUT.join("B", wanted).tolist()


@pytest.mark.parametrize("encoding", FORMS)
def test_a_move_beyond_what_an_update_holds_is_cut_off(encoding):
    far = {name: array * 0 + np.float32(100) for name, array in START.get_factor("B").items()}
    assert set(compute_delta(STATES[encoding], {"B": far})["B"].tolist()) == {FORMS[encoding].largest}


def test_all_of_what_is_stacked_is_new():
    state = initial_state(LAYOUT, b"seed", Recipe("stack"))
    ones = {f: {n: np.ones(s, np.float32) for n, s in LAYOUT.compute_shapes(f).items()} for f in FACTORS}
    delta = compute_delta(state, ones)
    assert {factor: set(vector.tolist()) for factor, vector in delta.items()} == {"A": {1 << 24}, "B": {1 << 24}}
    assert [delta[factor].size for factor in FACTORS] == [LAYOUT.compute_size(factor) for factor in FACTORS]


# --- Error feedback ------------------------------------------------------------------------------------------


def propose(state, delta, feedback, ceiling=2**60):
    """What a proposer does with a delta, without the training; returns the numbers that others read."""
    update, held = fit_ceiling(state, add_rests(state, delta, feedback), ceiling)
    blob = encode_update(update)
    offer_rests(state, update, held, feedback, digest(blob))
    return read_whole(decode_update(state, blob)), digest(blob)


@pytest.mark.parametrize("encoding", FORMS)
@pytest.mark.parametrize("step", [0, 1])
def test_of_two_merged_updates_only_the_last_rest_is_missing(tmp_path, encoding, step):
    feedback, total, decoded = Feedback(tmp_path), 0, 0
    for turn in range(4):
        state = replace(STATES[encoding], step=step + 2 * turn)
        (factor,) = state.trained
        delta = draw_delta(turn, 2**12, state)
        numbers, name = propose(state, delta, feedback)
        total, decoded = total + delta[factor], decoded + numbers[factor]
        feedback.settle(name, merged=True, judged=False)
        rest = feedback.recall(factor, state.step + 1, delta[factor].size)
        assert (decoded + rest == total).all()
        assert rest.any()


def test_factors_keep_their_rests_apart(tmp_path):
    feedback = Feedback(tmp_path)
    for step in (0, 1):
        state = replace(STATES["int4"], step=step)
        _, name = propose(state, draw_delta(step, 2**12, state), feedback)
        feedback.settle(name, merged=True, judged=False)
    for factor in FACTORS:
        assert feedback.recall(factor, 2, LAYOUT.compute_size(factor)).any()
    still = {"B": np.zeros(LAYOUT.compute_size("B"), np.int32)}
    rests = add_rests(replace(START, step=2), still, feedback)
    assert rests["B"].tolist() == feedback.recall("B", 2, LAYOUT.compute_size("B")).tolist()


def test_a_refused_update_is_not_made_up_for(tmp_path):
    feedback, state = Feedback(tmp_path), STATES["ternary"]
    _, name = propose(state, draw_delta(1, 2**12), feedback)
    feedback.settle(name, merged=False, judged=True)
    delta = draw_delta(2, 2**12)
    assert propose(state, delta, feedback)[1] == digest(encode_update(make_update(state, delta)))


def test_what_the_ceiling_cut_off_is_no_rest(tmp_path):
    feedback, state = Feedback(tmp_path), STATES["int8"]
    delta = draw_delta(1, 2**20)
    ceiling = measure(state, make_update(state, delta)) // 10
    numbers, name = propose(state, delta, feedback, ceiling)
    feedback.settle(name, merged=True, judged=False)
    rest = feedback.recall("B", 1, LAYOUT.compute_size("B"))
    assert np.abs(rest).max() <= 2**17 // 127  # half a level of a tenth
    assert (np.abs(numbers["B"]) < 2**18).all()


def test_a_delta_with_its_rest_saturates(tmp_path):
    feedback, largest = Feedback(tmp_path), FORMS["int8"].largest
    feedback.offer("B", 0, np.full(LAYOUT.compute_size("B"), 1000, np.int32), b"x" * 32)
    feedback.settle(b"x" * 32, merged=True, judged=False)
    full = {"B": np.full(LAYOUT.compute_size("B"), largest, np.int32)}
    assert set(add_rests(replace(START, step=2), full, feedback)["B"].tolist()) == {largest}


# --- With a model --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state():
    return initial_state(get_model().layout, b"proposer")


@pytest.fixture
def proposer():
    return Proposer(get_rows(0), SHORT)


def test_training_gives_an_admissible_update_of_the_state(proposer, state):
    update = check_admission(state, proposer.make_update(get_model(), state, 1 << 20, seed=1), 1 << 20)
    assert update.parent == get_digest(state)
    assert update.parts["B"].codes.any()


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(proposer, state):
    one, same, other = (proposer.make_update(get_model(), state, 1 << 20, seed) for seed in (1, 1, 2))
    assert one == same != other


def test_it_trains_against_the_clues_it_is_given(proposer, state):
    clues = [Clue("zq zq", "done", "front")]
    seed = next(
        seed
        for seed in range(50)
        if vaccinate(get_model().tokenizer, proposer.rows, clues, seed, 64) != list(proposer.rows)
    )
    plain, one, same = (proposer.make_update(get_model(), state, 1 << 20, seed, each) for each in ((), clues, clues))
    assert plain == proposer.make_update(get_model(), state, 1 << 20, seed)
    assert one == same != plain


def test_a_low_ceiling_makes_no_honest_node_inadmissible(proposer, state):
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, proposer.make_update(get_model(), state, 1 << 20, 1), 500)
    check_admission(state, proposer.make_update(get_model(), state, 500, 1), 500)


def test_an_attackers_tampering_is_applied_after_all_care(proposer, state):
    attacker = replace(proposer, tamper=scale_delta(3000))
    with pytest.raises(Inadmissible, match="norm"):
        check_admission(state, attacker.make_update(get_model(), state, 1 << 20, 1), 1 << 20)


@pytest.mark.parametrize("factor", [1, 10**6, 10**9])
def test_tampering_of_any_size_still_makes_an_update(proposer, state, factor):
    attacker = replace(proposer, tamper=scale_delta(factor))
    check_admission(state, attacker.make_update(get_model(), state, 1 << 20, 1), 2**60)


def test_steps_are_reported_and_no_checkpoint_is_left(proposer, state, tmp_path):
    seen = []
    watched = replace(proposer, checkpoints=tmp_path / "c", on_step=lambda step, loss: seen.append(step))
    assert watched.make_update(get_model(), state, 1 << 20, 1) == proposer.make_update(get_model(), state, 1 << 20, 1)
    assert seen == [1, 2]
    assert list(tmp_path.rglob("*.safetensors")) == []


def test_a_proposer_offers_the_rest_of_what_it_trained(proposer, state, tmp_path):
    feedback = Feedback(tmp_path)
    blob = replace(proposer, feedback=feedback).make_update(get_model(), state, 1 << 20, 1)
    assert blob == proposer.make_update(get_model(), state, 1 << 20, 1)
    delta = compute_delta(state, train(get_model(), state, proposer.rows, SHORT, 1))["B"]
    numbers = decode_update(state, blob).read("B", 0, delta.size)
    feedback.settle(digest(blob), merged=True, judged=False)
    rest = feedback.recall("B", 1, delta.size)
    assert (numbers + rest == delta).all()
    assert rest.any()
    later = replace(proposer, feedback=feedback).make_update(get_model(), replace(state, step=2), 1 << 20, 1)
    wanted, _ = fit_ceiling(replace(state, step=2), {"B": delta + rest}, 1 << 20)
    assert later == encode_update(wanted)


def test_an_attacker_keeps_no_rests(proposer, state, tmp_path):
    attacker = replace(proposer, tamper=scale_delta(2), feedback=Feedback(tmp_path))
    attacker.make_update(get_model(), state, 1 << 20, 1)
    assert list(tmp_path.iterdir()) == []
