from itertools import combinations
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.codec import make_update
from openflock.update.fixed import Layout, Module, initial_state
from openflock.update.geometry import compute_norm
from openflock.update.trail import UNIT, Trail, compare_trails

from .examples import SMALL, fill_update, read_whole, updates

MODES = [Recipe(), Recipe("ffa"), Recipe("separate")]


def start(recipe):
    return initial_state(SMALL, b"trail", recipe)


def compare(state, sent, domains=None):
    """Compare proposers by all that each sent, by how long ago; in one domain, unless said."""
    now, earlier = [mine[0] for mine in sent], [{ago: mine[ago] for ago in mine if ago} for mine in sent]
    return compare_trails(state, now, earlier, domains or [0] * len(sent))


def draw_update(state, rng, length):
    """An update of about this length, in a direction of its own."""
    size = state.layout.compute_size
    return make_update(state, {f: (length * rng.normal(size=size(f))).astype(np.int64) for f in state.trained})


def read_change(state, update):
    """What an update changes, as one vector: the weights of all modules, or both factors where both are merged."""
    numbers = read_whole(update)
    if state.recipe.mode == "separate":
        return np.concatenate([numbers[factor].astype(float) for factor in "AB"])
    matrices = [dict(state.get_factor(f)) if f not in numbers else update.layout.split(f, numbers[f]) for f in "BA"]
    changes = (b.astype(float) @ a.astype(float) for b, a in zip(*(each.values() for each in matrices), strict=True))
    return np.concatenate([change.ravel() for change in changes])


@given(st.sampled_from(MODES), st.integers(0, 2**32 - 1), st.data())
@settings(max_examples=40)
def test_two_are_compared_by_the_direction_of_the_rounds_of_both_which_count_alike(recipe, seed, data):
    state, rng = start(recipe), np.random.default_rng(seed)
    lengths = st.sampled_from([1000, 2000, 30_000])
    pasts = st.dictionaries(st.integers(1, 3), lengths, max_size=3)
    drawn = data.draw(st.lists(st.tuples(lengths, pasts), min_size=2, max_size=4))
    sent = [{ago: draw_update(state, rng, n) for ago, n in {0: now, **past}.items()} for now, past in drawn]
    changes = [{ago: read_change(state, each) for ago, each in mine.items()} for mine in sent]
    found = compare(state, sent)
    assert (found == found.T).all()
    assert found.diagonal().tolist() == [UNIT] * len(sent)
    for pair in combinations(range(len(sent)), 2):
        both = sent[pair[0]].keys() & sent[pair[1]].keys()
        one, other = (sum(changes[who][ago] / np.linalg.norm(changes[who][ago]) for ago in both) for who in pair)
        assert found[pair] / UNIT == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-3)


@given(st.sampled_from(MODES), st.data())
@settings(max_examples=40)
def test_whatever_is_sent_nobody_is_nearer_than_itself(recipe, data):
    state = start(recipe)
    pasts = st.dictionaries(st.integers(1, 3), updates(state), max_size=3)
    sent = [{0: now, **past} for now, past in data.draw(st.lists(st.tuples(updates(state), pasts), min_size=2))]
    found = compare(state, sent)
    assert abs(found).max() <= UNIT
    assert (found == found.T).all()
    assert all(type(each) is int for each in found.flat)


@pytest.mark.parametrize("times", [1 / 50, 100])
@pytest.mark.parametrize("ago", [0, 1, 2])
def test_who_sends_more_in_a_round_or_less_counts_for_as_much_in_it(ago, times):
    state, rng = start(Recipe("ffa")), np.random.default_rng(1)
    sent = [{each: draw_update(state, rng, 10_000) for each in range(3)} for _ in range(3)]
    other = make_update(state, {"B": (times * read_whole(sent[2][ago])["B"]).astype(np.int64)})
    assert abs(compare(state, [*sent[:2], {**sent[2], ago: other}]) - compare(state, sent)).max() < UNIT // 100


def test_who_goes_the_other_way_is_twice_as_far_as_who_goes_at_a_right_angle():
    state, rng = start(Recipe("ffa")), np.random.default_rng(2)
    mine = draw_update(state, rng, 1000)
    yours = make_update(state, {"B": -read_whole(mine)["B"].astype(np.int64)})
    assert compare(state, [{0: mine}, {0: yours}]).tolist() == [[UNIT, -UNIT], [-UNIT, UNIT]]


def test_a_cosine_is_rounded_down_also_below_zero():
    """Where both factors are merged products are those of the numbers; the shorter is scaled by the root of ten."""
    state = initial_state(Layout((Module("a", 2, 1),), rank=1, alpha=1), b"seed", Recipe("separate"))
    mine, yours = (make_update(state, {"A": np.zeros(1, np.int64), "B": np.array(b)}) for b in ([-90, 30], [30, 0]))
    assert [read_whole(each)["B"].tolist() for each in (mine, yours)] == [[-90, 30], [30, 0]]
    product, length = -90 * 95, isqrt((90**2 + 30**2) * 95**2)
    assert product * UNIT % length
    assert compare(state, [{0: mine}, {0: yours}])[0, 1] == product * UNIT // length


def test_what_was_sent_beside_another_frozen_factor_is_compared_beside_that_of_now():
    """A norm may be known from the round in which it was admitted; who has merged that must find what others find."""
    now, before = start(Recipe("ffa")), initial_state(SMALL, b"before", Recipe("ffa"))

    def send():
        rng = np.random.default_rng(3)
        return [{ago: draw_update(before, rng, 1000) for ago in range(3)} for _ in range(2)]

    new, known = send(), send()
    for update in [each for mine in known for each in mine.values()]:
        compute_norm(before, update)
    assert (compare(now, known) == compare(now, new)).all()
    assert (compare(before, new) != compare(now, new)).any()


@given(st.sampled_from(MODES), st.data())
def test_a_trail_is_read_piece_by_piece_as_whole_numbers_that_saturate(recipe, data):
    state = start(recipe)
    each, scales = st.lists(updates(state), min_size=1, max_size=8), st.floats(0, 2.0**60)
    drawn = data.draw(each)
    trail = Trail(drawn, [data.draw(scales) for _ in drawn])
    for factor in state.trained:
        size = state.layout.compute_size(factor)
        whole, middle = trail.read(factor, 0, size), size // 2
        assert (trail.read(factor, middle, size) == whole[middle:]).all()
        assert (whole == np.rint(whole)).all()
        assert abs(whole).max() < 2**31


def test_a_long_past_brings_nobody_nearer_to_who_has_none():
    state, rng = start(Recipe("ffa")), np.random.default_rng(3)
    mine, yours = ({0: draw_update(state, rng, 1000)} for _ in range(2))
    alone = compare(state, [mine, yours])
    beside = compare(state, [mine, yours | dict.fromkeys((1, 2, 3), mine[0])])
    assert alone[0, 1] == beside[0, 1] < UNIT


def test_between_domains_nothing_is_compared():
    state = start(Recipe())
    found = compare(state, [{0: fill_update(state, number)} for number in (1, 2, 5)], domains=[0, 1, 0])
    assert found[0, 2] != 0
    assert found[0, 1] == found[1, 2] == 0


def test_nothing_has_no_direction():
    state, rng = start(Recipe("ffa")), np.random.default_rng(4)
    sent = [{0: draw_update(state, rng, length)} for length in (0, 1000, 1000)]
    assert compare(state, sent)[0].tolist() == [UNIT, 0, 0]


def test_one_update_has_nobody_to_be_compared_with():
    state = start(Recipe())
    assert compare(state, [{0: fill_update(state, 1)}]).tolist() == [[UNIT]]
