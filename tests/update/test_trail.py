from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.fixed import initial_state
from openflock.update.geometry import compute_products
from openflock.update.trail import Trail, compare_trails

from .examples import SMALL, fill_update, read_whole, updates

MODES = [Recipe(), Recipe("ffa"), Recipe("separate")]


def start(recipe):
    return initial_state(SMALL, b"trail", recipe)


def add(state, each):
    """The sum of some updates' numbers, one factor after another."""
    return {factor: sum(read_whole(update)[factor] for update in each) for factor in state.trained}


@given(st.sampled_from(MODES), st.data())
@settings(max_examples=40)
def test_a_trail_is_read_as_the_sum_of_its_updates(recipe, data):
    state = start(recipe)
    drawn = data.draw(st.lists(updates(state), min_size=1, max_size=4))
    wanted = add(state, drawn)
    for factor, numbers in wanted.items():
        assert (Trail(drawn).read(factor, 0, numbers.size) == numbers).all()
        middle = numbers.size // 2
        assert (Trail(drawn).read(factor, middle, numbers.size) == numbers[middle:]).all()


def compute_apart(compared, one, other):
    """The squared distance of two proposers, in the unit of all."""
    return compared.squares[one, other] + compared.squares[other, one] - 2 * compared.products[one, other]


@given(st.sampled_from(MODES), st.data())
@settings(max_examples=40)
def test_two_are_compared_by_the_mean_of_the_rounds_in_which_both_were_merged(recipe, data):
    state = start(recipe)
    pasts = st.dictionaries(st.integers(1, 3), updates(state), max_size=3)
    sent = data.draw(st.lists(st.tuples(updates(state), pasts), min_size=2, max_size=4))
    found = compare_trails(state, [now for now, _ in sent], [past for _, past in sent], [0] * len(sent))
    ratios = set()
    for one, other in combinations(range(len(sent)), 2):
        both = sorted(sent[one][1].keys() & sent[other][1].keys())
        trails = [Trail((sent[place][0], *(sent[place][1][ago] for ago in both))) for place in (one, other)]
        products = compute_products(state, trails)
        wanted = Fraction(int(products[0, 0] + products[1, 1] - 2 * products[0, 1]), (len(both) + 1) ** 2)
        apart = compute_apart(found, one, other)
        assert apart == compute_apart(found, other, one)
        assert (apart == 0) == (wanted == 0)
        if wanted:
            ratios.add(apart / wanted)
    assert len(ratios) <= 1  # one unit for all


@pytest.mark.parametrize("recipe", MODES)
def test_who_has_no_past_is_compared_as_without_a_memory(recipe):
    state = start(recipe)
    drawn = [fill_update(state, number) for number in (1, 2, 5)]
    compared, products = compare_trails(state, drawn, [{}, {}, {}], [0, 0, 0]), compute_products(state, drawn)
    for one, other in combinations(range(3), 2):
        wanted = products[one, one] + products[other, other] - 2 * products[one, other]
        assert compute_apart(compared, one, other) == wanted


def test_a_long_past_brings_nobody_nearer_to_who_has_none():
    state = start(Recipe())
    mine, yours = fill_update(state, 3), fill_update(state, 4)
    alone = compare_trails(state, [mine, yours], [{}, {}], [0, 0])
    past = dict.fromkeys((1, 2, 3), mine)
    beside = compare_trails(state, [mine, yours], [{}, past], [0, 0])
    assert compute_apart(alone, 0, 1) == compute_apart(beside, 0, 1) > 0


def test_between_domains_nothing_is_compared():
    state = start(Recipe())
    drawn = [fill_update(state, number) for number in (1, 2, 5)]
    compared = compare_trails(state, drawn, [{}, {}, {}], [0, 1, 0])
    assert compute_apart(compared, 0, 2) > 0
    assert compute_apart(compared, 0, 1) == compute_apart(compared, 1, 2) == 0


def test_one_update_has_nobody_to_be_compared_with():
    state = start(Recipe())
    assert compare_trails(state, [fill_update(state, 1)], [{}], [0]).products.tolist() == [[0]]
