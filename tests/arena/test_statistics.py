import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.statistics import (
    Interval,
    compute_binomial,
    compute_bootstrap,
    compute_p_value,
    correct_holm,
    estimate_rate,
    pair,
)

TEN = [1.073, 0.308, 5.375, 0.366, 0.115, 1.8, 0.499, 0.551, 0.03, 0.764]
floats = st.floats(-1e3, 1e3, allow_subnormal=False)


def compute_tail(least, total, share):
    return sum(math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(least, total + 1))


# Bootstrap


def test_the_bootstrap_gives_what_scipy_gives():
    # scipy.stats.bootstrap((TEN,), np.mean, n_resamples=9999, method="BCa", rng=np.random.default_rng(0)), scipy 1.17
    interval = compute_bootstrap(TEN)
    assert interval.low == pytest.approx(0.4909436657101738, rel=1e-3)
    assert interval.point == pytest.approx(1.0881)
    assert interval.high == pytest.approx(2.9251879731970254, rel=1e-3)  # ties, which it leaves to rounding


def test_the_bounds_follow_the_skew():
    interval = compute_bootstrap(TEN)
    assert interval.high - interval.point > 2 * (interval.point - interval.low)


@given(st.lists(floats, min_size=2, max_size=12), st.floats(0.1, 9.0), floats)
def test_the_bounds_move_and_stretch_with_the_values(values, stretch, shift):
    before = compute_bootstrap(values, resamples=200)
    after = compute_bootstrap([stretch * value + shift for value in values], resamples=200)
    assert before.low <= before.high
    spread = 1e-6 * (1 + max(map(abs, values)) * stretch + abs(shift))
    if np.ptp(values) > 1e-6:  # below, rounding alone decides which resamples are ties
        for left, right in ((before.low, after.low), (before.point, after.point), (before.high, after.high)):
            assert stretch * left + shift == pytest.approx(right, abs=spread)


def test_an_interval_of_95_in_100_holds_the_truth_about_90_times_at_ten_values_and_more_often_at_forty():
    draw = np.random.default_rng(7)
    shares = []
    for count in (10, 40):
        intervals = [compute_bootstrap(draw.normal(size=count), resamples=600, seed=k) for k in range(400)]
        shares.append(np.mean([each.low <= 0 <= each.high for each in intervals]))
    assert 0.86 < shares[0] < 0.95
    assert 0.91 < shares[1] < 0.98


def test_a_higher_level_is_wider():
    narrow, wide = compute_bootstrap(TEN, level=0.8), compute_bootstrap(TEN, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_value_says_nothing_and_equal_ones_leave_no_width():
    assert compute_bootstrap([0.3]) == Interval(-math.inf, 0.3, math.inf)
    assert compute_bootstrap([0.3] * 5) == Interval(0.3, 0.3, 0.3)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf, 1.0]])
def test_a_run_that_failed_cannot_pass_as_a_number(values):
    for estimate in (compute_bootstrap, compute_p_value):
        with pytest.raises(ValueError, match="not finite"):
            estimate(values)


# Counts


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),  # scipy.stats.binomtest(count, total).proportion_ci(0.95, "exact")
    [
        (0, 400, 0.0, 0.009179804583673406),
        (0, 4000, 0.0, 0.0009217947496064361),
        (1, 400, 6.32925169048988e-05, 0.013849769962076439),
        (3, 10, 0.06673951117773447, 0.652452850060008),
        (400, 400, 0.9908201954163266, 1.0),
        (37, 1000, 0.02618270884399008, 0.0506411230599609),
        (5000, 100000, 0.04865725520723964, 0.05136892088058044),
        (1, 1, 0.025, 1.0),
    ],
)
def test_exact_bounds_are_scipys(count, total, low, high):
    interval = compute_binomial(count, total)
    assert interval.low == pytest.approx(low, rel=1e-8)
    assert interval.point == count / total
    assert interval.high == pytest.approx(high, rel=1e-8)


@given(st.integers(1, 60).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_at_a_bound_what_was_seen_has_a_chance_of_one_in_forty(case):
    count, total = case
    interval = compute_binomial(count, total)
    assert 0 <= interval.low <= interval.point <= interval.high <= 1
    if count:
        assert compute_tail(count, total, interval.low) == pytest.approx(0.025)
    if count < total:
        assert 1 - compute_tail(count + 1, total, interval.high) == pytest.approx(0.025)


@given(st.integers(2, 200).flatmap(lambda total: st.tuples(st.integers(1, total), st.just(total))))
def test_bounds_grow_with_the_count_and_shrink_towards_it_with_the_rows(case):
    count, total = case
    less, more, longer = (
        compute_binomial(count - 1, total),
        compute_binomial(count, total),
        compute_binomial(3 * count, 3 * total),
    )
    assert less.low < more.low
    assert less.high <= more.high
    assert more.low < longer.low <= longer.high <= more.high


def test_nothing_counted_may_be_anything():
    interval = compute_binomial(0, 0)
    assert (interval.low, interval.high) == (0, 1)
    assert math.isnan(interval.point)
    with pytest.raises(ValueError, match="3 of 2"):
        compute_binomial(3, 2)


def test_a_rate_that_is_none_or_all_in_every_seed_is_bounded_by_its_rows():
    assert estimate_rate([(0, 400)] * 10) == compute_binomial(0, 4000)
    assert estimate_rate([(50, 50), (70, 70)]) == compute_binomial(120, 120)
    assert estimate_rate([(3, 200)] * 4) == compute_binomial(12, 800)  # a bootstrap would have no width
    assert estimate_rate([(3, 200)]) == compute_binomial(3, 200)


def test_a_rate_that_differs_is_bounded_over_seeds():
    counts = [(0, 200)] * 8 + [(180, 200), (0, 0)]  # a seed without rows says nothing
    assert estimate_rate(counts) == compute_bootstrap([0.0] * 8 + [0.9])
    assert estimate_rate(counts).high > 0.2  # one seed in nine fell


# Comparisons


def test_pairs_are_of_the_same_seeds():
    assert pair({1: 3.0, 2: 5.0}, {2: 1.0, 1: 1.0}) == [2.0, 4.0]
    with pytest.raises(ValueError, match="seeds 2, 3"):
        pair({1: 3.0, 2: 5.0}, {1: 1.0, 3: 1.0})


def test_pairing_takes_out_what_seeds_have_in_common():
    draw = np.random.default_rng(3)
    common = draw.normal(size=10) * 10
    left, right = dict(enumerate(common + 1 + 0.1 * draw.normal(size=10))), dict(enumerate(common))
    interval = compute_bootstrap(pair(left, right))
    assert 0.8 < interval.low < interval.high < 1.2


def test_flipping_signs_gives_what_scipy_gives():
    # by scipy.stats.permutation_test with permutation_type "samples", on the mean
    assert compute_p_value([0.3, -0.1, 0.5, 0.2, 0.4, 0.05, 0.6, -0.02]) == 0.046875


@given(st.integers(1, 14))
def test_no_p_value_is_below_what_so_many_pairs_can_show(count):
    assert compute_p_value([1.0] * count) == 2.0 ** (1 - count)


def test_a_sampled_p_value_is_near_the_exact_one_and_never_zero():
    draw = np.random.default_rng(5)
    values = draw.normal(0.5, 1, 20)
    signs = 1 - 2 * ((np.arange(2**20)[:, None] >> np.arange(20)) & 1).astype(np.int8)
    exact = (abs(signs @ values) >= abs(values.sum()) - 1e-9).mean()
    assert compute_p_value(values) == pytest.approx(exact, abs=0.01)
    assert 0 < compute_p_value([1.0] * 60) < 1e-3


def test_nothing_different_is_no_evidence():
    assert compute_p_value([0.0] * 10) == 1.0


def test_many_results_are_held_to_more():
    # Holm 1979 by hand: .01 * 4, .02 * 3, .03 * 2 and .04 * 1, never below the one before
    assert correct_holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert correct_holm([0.9, 0.8]) == [1.0, 1.0]
    assert correct_holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_correction_keeps_the_order_and_lies_between_the_value_and_its_multiple(p_values):
    corrected = correct_holm(p_values)
    for p, after in zip(p_values, corrected, strict=True):
        assert p <= after <= min(1, p * len(p_values)) or after == max(corrected)
        assert p <= after <= 1
    for left, right in zip(sorted(p_values), sorted(corrected), strict=True):
        assert left <= right
