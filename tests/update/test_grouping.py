from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.plan import Grouped, combine
from openflock.update.robust import ROW_LIMIT, compute_grouped_plan, compute_plan, list_shares

from .test_robust import LARGEST, merge_by_hand, name_all, numbers, recipes, rounds, stakes

TRIMMED = Recipe(grouping=1000, aggregator="trimmed_mean", faulty=400)
grouped = recipes.map(lambda recipe: replace(recipe, grouping=1000))
capped = st.builds(replace, recipes, grouping=st.integers(1, 1000))


@st.composite
def shared_rounds(draw, weights=stakes):
    """Draw updates, their weights and the domains that they are of."""
    updates, drawn = draw(rounds(weights))
    return updates, drawn, draw(st.lists(st.integers(0, 2), min_size=len(drawn), max_size=len(drawn)))


def plan_merge(recipe, weights, updates, domains, digests=None):
    return compute_grouped_plan(recipe, weights, updates @ updates.T, digests or name_all(len(weights)), domains)


def merge(recipe, weights, updates, domains, digests=None):
    plan = plan_merge(recipe, weights, updates, domains, digests)
    return combine(plan, updates.astype(np.float64)).tolist()


@given(capped, shared_rounds())
@settings(deadline=None)
def test_a_merge_is_the_weighted_mean_of_what_each_domain_makes_of_its_own(recipe, case):
    updates, weights, domains = case
    plan = plan_merge(recipe, weights, updates, domains)
    made = [merge_by_hand(group.plan, updates[list(group.members)]) for group in plan.groups]
    total = sum(group.weight for group in plan.groups)
    wanted = [
        round(Fraction(sum(group.weight * value for group, value in zip(plan.groups, column, strict=True)), total))
        for column in zip(*made, strict=True)
    ]
    assert combine(plan, updates.astype(np.float64)).tolist() == wanted
    assert total <= ROW_LIMIT


@given(grouped, shared_rounds(st.integers(1, 1000)))
@settings(deadline=None)
def test_every_update_is_in_its_domain_s_group_which_counts_by_weight(recipe, case):
    updates, weights, domains = case
    plan = plan_merge(recipe, weights, updates, domains)
    for group, domain in zip(plan.groups, sorted(set(domains)), strict=True):
        assert group.members == tuple(k for k, own in enumerate(domains) if own == domain)
        mine, whole = sum(weights[k] for k in group.members), sum(each.weight for each in plan.groups)
        assert mine * whole == group.weight * sum(weights)


@given(capped, shared_rounds(), st.data())
@settings(deadline=None)
def test_order_does_not_count(recipe, case, data):
    updates, weights, domains = case
    order = data.draw(st.permutations(range(len(weights))))
    digests = name_all(len(weights))
    shuffled = merge(
        recipe, [weights[k] for k in order], updates[order], [domains[k] for k in order], [digests[k] for k in order]
    )
    assert merge(recipe, weights, updates, domains) == shuffled


@given(recipes, rounds(), st.integers(0, 15), st.integers(1, 1000))
@settings(deadline=None)
def test_a_single_domain_is_merged_as_without_domains(recipe, case, domain, cap):
    updates, weights = case
    plain = combine(
        compute_plan(recipe, weights, updates @ updates.T, name_all(len(weights))), updates.astype(np.float64)
    )
    assert merge(replace(recipe, grouping=cap), weights, updates, [domain] * len(weights)) == plain.tolist()


@given(grouped.map(lambda recipe: replace(recipe, clip=0)), rounds(st.integers(1, 100)))
@settings(deadline=None)
def test_who_holds_a_domain_alone_counts_by_its_weight_under_any_rule(recipe, case):
    updates, weights = case
    merged = merge(recipe, weights, updates, list(range(len(weights))))
    assert merged == [round(Fraction(int(value), sum(weights))) for value in np.array(weights, object) @ updates]


def test_who_holds_a_domain_alone_is_clipped_to_the_median_of_all():
    updates = np.array([[40], [40], [40], [4000]], object)
    assert merge(replace(TRIMMED, clip=1000), [1] * 4, updates, [0, 0, 0, 1]) == [40]


@given(st.lists(st.lists(numbers, min_size=3, max_size=5), min_size=1, max_size=3), numbers, st.data())
@settings(deadline=None)
def test_a_minority_in_each_domain_moves_nothing_beyond_what_others_of_it_sent(honest, lie, data):
    """One liar in each domain of four to six: less than two in five of its weight."""
    lies = [data.draw(numbers) for _ in honest]
    updates = [[value] for group, own in zip(honest, lies, strict=True) for value in [*group, own]]
    domains = [domain for domain, group in enumerate(honest) for _ in range(len(group) + 1)]
    [merged] = merge(TRIMMED, [1] * len(updates), np.array(updates, object), domains)
    ends = [sum((len(group) + 1) * end(group) for group in honest) for end in (min, max)]
    assert ends[0] // len(updates) - 1 <= merged <= ends[1] // len(updates) + 1


@given(numbers, numbers, st.sampled_from([-LARGEST, LARGEST]) | numbers)
def test_in_a_domain_of_three_the_median_stands_between_the_two_that_agree(first, second, lie):
    updates = np.array([[first], [second], [lie]], object)
    assert merge(TRIMMED, [7, 7, 7], updates, [5, 5, 5]) == [sorted([first, second, lie])[1]]


def test_a_captured_domain_counts_for_no_more_than_the_recipe_lets_it():
    updates = np.array([[-80], [-80], [-80], [40], [40], [40], [40], [40]], object)
    domains = [0, 0, 0, 0, 0, 1, 1, 2]  # three liars and two honest holders in the first
    assert merge(TRIMMED, [1] * 8, updates, domains) == [-35]  # five of eight to the liars
    assert merge(replace(TRIMMED, grouping=250), [1] * 8, updates, domains) == [-8]  # two of five


@given(st.lists(st.integers(1, 10**30), min_size=2, max_size=6), st.integers(1, 1000))
def test_where_every_domain_is_cut_all_count_alike_and_none_above_its_share_is_heavier_than_another(weights, cap):
    updates = np.zeros((len(weights), 1), object)
    plan = plan_merge(replace(TRIMMED, grouping=cap), weights, updates, range(len(weights)))
    cut = [group.weight for group, own in zip(plan.groups, weights, strict=True) if 1000 * own >= cap * sum(weights)]
    assert len(set(cut)) <= 1
    assert all(group.weight <= max(cut) for group in plan.groups if cut)


@given(shared_rounds(st.integers(1, 1000)), st.integers(0, 1000), st.data())
@settings(deadline=None)
def test_where_others_move_nothing_a_mean_moves_by_the_update_s_share(case, cap, data):
    updates, weights, domains = case
    mine = data.draw(st.integers(0, len(weights) - 1))
    updates = np.array([row if k == mine else row * 0 for k, row in enumerate(updates)], object)
    recipe = Recipe(grouping=cap)
    shares = list_shares(recipe, weights, domains)
    assert sum(shares) == 1
    measured = (recipe, weights, updates @ updates.T, name_all(len(weights)))
    plan = compute_grouped_plan(*measured, domains) if cap else compute_plan(*measured)
    for moved, number in zip(combine(plan, updates.astype(np.float64)), updates[mine], strict=True):
        assert abs(int(moved) - number * shares[mine]) <= 1  # rounded once in the domain, once among domains


@pytest.mark.parametrize(("cap", "wanted"), [(0, [1, 1, 1]), (1000, [Fraction(2, 3)] * 2 + [Fraction(1, 3)])])
def test_krum_s_winner_enters_whole_what_its_domain_counts_for(cap, wanted):
    krum = Recipe(grouping=cap, aggregator="krum", faulty=100)
    assert list_shares(krum, [7, 7, 7], [0, 0, 1]) == wanted
    updates = np.array([[30], [30], [0]], object)
    plan = (
        compute_grouped_plan(krum, [7, 7, 7], updates @ updates.T, name_all(3), [0, 0, 1])
        if cap
        else compute_plan(krum, [7, 7, 7], updates @ updates.T, name_all(3))
    )
    assert combine(plan, updates.astype(np.float64)).tolist() == [30 * wanted[0]]


def test_of_two_the_mean_is_taken():
    assert merge(TRIMMED, [3, 3], np.array([[10], [30]], object), [1, 1]) == [20]


@given(shared_rounds(), st.data())
@settings(deadline=None)
def test_what_one_domain_sends_changes_nothing_in_another(case, data):
    updates, weights, domains = case
    changed = updates.copy()
    mine = [k for k, domain in enumerate(domains) if domain == domains[0]]
    changed[mine] = data.draw(numbers)
    plans = [plan_merge(TRIMMED, weights, each, domains) for each in (updates, changed)]
    for before, after in zip(*(plan.groups for plan in plans), strict=True):
        if before.members != tuple(mine):
            assert before == after


def test_a_plan_without_domains_is_refused_where_the_recipe_merges_by_domain():
    nothing = np.zeros((1, 1), object)
    with pytest.raises(ValueError, match="by domain"):
        compute_plan(TRIMMED, [1], nothing, [b""])
    with pytest.raises(ValueError, match="1 updates of 2 domains"):
        compute_grouped_plan(TRIMMED, [1], nothing, [b""], [0, 1])


@given(grouped, shared_rounds(), st.integers(1, 3))
@settings(deadline=None)
def test_columns_may_be_merged_apart(recipe, case, cut):
    updates, weights, domains = case
    plan = plan_merge(recipe, weights, updates, domains)
    assert isinstance(plan, Grouped)
    whole, values = combine(plan, updates.astype(np.float64)), updates.astype(np.float64)
    assert np.concatenate([combine(plan, values[:, :cut]), combine(plan, values[:, cut:])]).tolist() == whole.tolist()
