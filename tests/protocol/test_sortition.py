from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.sortition import (
    compute_committee,
    compute_seed,
    compute_target,
    compute_ticket,
    find_leaf,
    get_total,
    set_leaf,
)
from openflock.protocol.types import SEED_WINDOW

from .helpers import make_address, make_digest

leaves = st.lists(st.integers(0, 2**88), min_size=1, max_size=40).filter(any)


def make_tree(values):
    tree = {}
    for position, value in enumerate(values):
        set_leaf(tree, position, value)
    return tree


def make_members(values):
    return [make_address(f"node {position}") for position in range(len(values))]


# --- The tree ------------------------------------------------------------------------------------------------


@given(leaves, st.data())
def test_the_tree_finds_what_prefix_sums_find(values, data):
    tree = make_tree(values)
    point = data.draw(st.integers(0, sum(values) - 1))
    naive = next(i for i, end in enumerate(accumulate(values)) if point < end)
    assert find_leaf(tree, point) == naive


@given(leaves, st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 2**88)), max_size=20))
def test_the_total_is_the_sum_of_the_leaves_after_any_changes(values, changes):
    tree, expected = make_tree(values), dict(enumerate(values))
    for position, value in changes:
        set_leaf(tree, position, value)
        expected[position] = value
    assert get_total(tree) == sum(expected.values())
    assert min(tree.values()) >= 0


def test_the_edges_of_a_stretch_belong_to_its_member():
    tree = make_tree([5, 0, 3])
    assert [find_leaf(tree, point) for point in (0, 4, 5, 7)] == [0, 0, 2, 2]


# --- The seed ------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**40), st.integers(1, 5 * SEED_WINDOW))
def test_the_target_is_the_one_whose_hash_the_chain_still_knows(first, waited):
    target = compute_target(first, first + waited)
    assert (target - first) % SEED_WINDOW == 0
    assert target < first + waited <= target + SEED_WINDOW


def test_the_seed_depends_on_block_salts_and_round():
    seeds = {compute_seed(bytes(32), bytes(32), 1), compute_seed(b"\1" * 32, bytes(32), 1)}
    seeds |= {compute_seed(bytes(32), b"\1" * 32, 1), compute_seed(bytes(32), bytes(32), 2)}
    assert len(seeds) == 4


# --- Committees ----------------------------------------------------------------------------------------------


@given(leaves, st.integers(1, 32), st.binary(min_size=32, max_size=32), st.integers(0, 1))
def test_a_committee_s_weight_is_its_seats_or_all_stake(values, seats, seed, committee):
    values = [value + 1 for value in values]
    members = make_members(values)
    drawn = compute_committee(make_tree(values), members, seats, seed, committee)
    if len(values) <= seats:
        assert [(seat.node, seat.weight) for seat in drawn] == list(zip(members, values, strict=True))
    else:
        assert sum(seat.weight for seat in drawn) == seats
        assert len({seat.node for seat in drawn}) == len(drawn)


def test_both_committees_and_every_seat_have_tickets_of_their_own():
    seed = make_digest("seed")
    assert len({compute_ticket(seed, committee, ticket) for committee in (0, 1) for ticket in range(32)}) == 64


@given(leaves, st.data())
def test_a_seat_falls_to_a_member_on_exactly_its_stake_of_the_points(values, data):
    """The stretch of each member is as long as its stake, so the expected seats are stake / total, however split."""
    tree, end = make_tree(values), 0
    position = data.draw(st.sampled_from([i for i, value in enumerate(values) if value]))
    start = sum(values[:position])
    end = start + values[position]
    assert find_leaf(tree, start) == find_leaf(tree, end - 1) == position
    assert start == 0 or find_leaf(tree, start - 1) != position
    assert end == sum(values) or find_leaf(tree, end) != position


@given(st.lists(st.integers(1, 50), min_size=2, max_size=6), st.data())
def test_splitting_a_stake_gains_no_points(values, data):
    first = data.draw(st.integers(0, values[0]))
    whole, split = make_tree(values), make_tree([first, *values[1:], values[0] - first])
    points = range(sum(values))
    mine = sum(find_leaf(whole, point) == 0 for point in points)
    assert mine == sum(find_leaf(split, point) in (0, len(values)) for point in points) == values[0]
