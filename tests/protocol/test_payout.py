from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol import payout
from openflock.protocol.ballot import Mark
from openflock.protocol.types import Flag, Judgement, Verdict

from .helpers import make_rules

amounts = st.integers(0, 50) | st.integers(0, 2**100)
weights = st.lists(st.integers(1, 9), min_size=1, max_size=16) | st.lists(
    st.integers(1, 2**88), min_size=1, max_size=16
)
bits = st.lists(st.booleans(), max_size=6)
shares = st.integers(0, 10_000)


def share_rules(proposer_share, agreement_share):
    return make_rules(proposer_share=proposer_share, agreement_share=agreement_share)


# --- The budget ----------------------------------------------------------------------------------------------


@given(amounts, st.integers(1, 50))
def test_budgets_spend_the_whole_pool_by_the_last_round(pool, rounds):
    rules = make_rules(rounds=rounds)
    for number in range(1, rounds + 1):
        pool -= payout.compute_budget(rules, pool, number)
        assert pool >= 0
    assert pool == 0


@given(amounts, weights, shares, st.integers(0, 5000), st.data())
def test_a_round_never_pays_more_than_its_budget(budget, weights, proposer_share, agreement_share, data):
    rules, total = share_rules(proposer_share, agreement_share), sum(weights)
    spent = 0
    for weight in weights:
        benefit, alike = data.draw(st.integers(0, rules.full_benefit)), data.draw(st.integers(1, 16))
        n = data.draw(st.integers(1, 16))
        agreement = data.draw(st.integers(-n, n)), n
        spent += payout.compute_proposal_pay(rules, budget, weight, total, benefit, alike)
        spent += payout.compute_vote_pay(rules, budget, weight, total, data.draw(st.integers(1, 2)), agreement)
    assert spent <= budget


# --- Proposals -----------------------------------------------------------------------------------------------


@given(amounts, st.integers(1, 2**88), st.integers(0, 200), st.integers(1, 16))
def test_a_proposal_s_pay_is_its_exact_share_rounded_down(budget, weight, benefit, alike):
    pot = budget * 6000 // 10_000
    exact = Fraction(pot * weight * benefit, 3 * weight * 200 * alike)
    assert payout.compute_proposal_pay(make_rules(), budget, weight, 3 * weight, benefit, alike) == exact // 1


@given(amounts, weights, st.integers(0, 200), st.data())
def test_splitting_a_proposer_s_weight_never_pays_more(budget, weights, benefit, data):
    part, total, rules = data.draw(st.integers(0, weights[0])), sum(weights), make_rules()
    whole, one, other = (
        payout.compute_proposal_pay(rules, budget, weight, total, benefit, 1)
        for weight in (weights[0], part, weights[0] - part)
    )
    assert one + other <= whole


@given(st.lists(st.sampled_from([Verdict.PAID, Verdict.UNPAID]), min_size=1, max_size=16), st.integers(0, 2**64 - 1))
def test_near_duplicates_together_are_paid_at_most_one_share(verdicts, duplicates):
    judgements = [Judgement(verdict, 100) for verdict in verdicts]
    paid = [slot for slot, verdict in enumerate(verdicts) if verdict == Verdict.PAID]
    groups = {payout.get_original(duplicates, slot) for slot in paid}
    shares = sum(Fraction(1, payout.count_alike(judgements, duplicates, slot)) for slot in paid)
    assert shares == len(groups)


# --- Votes ---------------------------------------------------------------------------------------------------


@given(amounts, weights, st.integers(0, 5000), st.integers(1, 2), st.data())
def test_splitting_a_voter_s_weight_never_pays_more(budget, weights, agreement_share, halves, data):
    part, total, rules = data.draw(st.integers(0, weights[0])), sum(weights), share_rules(6000, agreement_share)
    n = data.draw(st.integers(1, 16))
    agreement = data.draw(st.integers(-n, n)), n
    whole, one, other = (
        payout.compute_vote_pay(rules, budget, weight, total, halves, agreement)
        for weight in (weights[0], part, weights[0] - part)
    )
    assert one + other <= whole


def test_rounding_never_pays_a_split():
    rules = share_rules(6000, 5000)
    for budget, halves, numerator in product(range(40), (1, 2), (-2, -1, 0, 1, 2)):
        pay = [payout.compute_vote_pay(rules, budget, weight, 4, halves, (numerator, 2)) for weight in range(4)]
        assert pay[1] + pay[1] <= pay[2]
        assert pay[1] + pay[2] <= pay[3]


def test_each_half_of_the_flat_part_is_earned_by_itself():
    rules = share_rules(0, 0)
    assert [payout.compute_vote_pay(rules, 1000, 1, 2, halves, (0, 1)) for halves in (1, 2)] == [250, 500]


@pytest.mark.parametrize(("agreement", "pay"), [((-1, 1), 400), ((0, 1), 700), ((1, 2), 850), ((1, 1), 1000)])
def test_agreement_moves_its_share_both_ways(agreement, pay):
    assert payout.compute_vote_pay(share_rules(0, 3000), 1000, 1, 1, 2, agreement) == pay


# --- Agreement -----------------------------------------------------------------------------------------------


@given(bits, st.booleans())
def test_constant_votes_agree_with_nobody(theirs, mine):
    assert payout.compute_agreement([(mine, bit) for bit in theirs])[0] == 0


@given(bits)
def test_random_votes_earn_nothing_in_expectation(theirs):
    every = [
        payout.compute_agreement(list(zip(mine, theirs, strict=True))) for mine in product((0, 1), repeat=len(theirs))
    ]
    assert sum(Fraction(*agreement) for agreement in every) == 0


@given(bits)
def test_random_votes_are_paid_the_flat_part_in_expectation(theirs):
    """The part that agreement moves may be negative: cut at zero, guessing would pay."""
    rules = share_rules(0, 3000)
    every = [
        payout.compute_agreement(list(zip(mine, theirs, strict=True))) for mine in product((0, 1), repeat=len(theirs))
    ]
    pays = [payout.compute_vote_pay(rules, 2**60, 1, 1, 2, agreement) for agreement in every]
    flat = payout.compute_vote_pay(rules, 2**60, 1, 1, 2, (0, 1))
    assert abs(sum(pays) - flat * len(every)) <= len(every)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=16))
def test_agreement_is_a_symmetric_fraction_within_one(pairs):
    numerator, denominator = payout.compute_agreement(pairs)
    assert -denominator <= numerator <= denominator
    assert (numerator, denominator) == payout.compute_agreement([(b, a) for a, b in pairs])


@given(st.lists(st.booleans(), min_size=2, max_size=16))
def test_the_same_informed_votes_agree(mine):
    numerator, _ = payout.compute_agreement([(bit, bit) for bit in mine])
    assert (numerator > 0) == (len(set(mine)) == 2)


@pytest.mark.parametrize(
    ("mark", "good", "compared"),
    [
        (Mark(-20), True, True), (Mark(-21), False, True), (Mark(9, Flag.SUSPECT), False, True),
        (Mark(9, Flag.INADMISSIBLE), False, True), (Mark(9, Flag.UNAVAILABLE), False, False),
        (Mark(9, Flag.ABSTAIN), False, False),
    ],
)  # fmt: skip
def test_a_mark_is_one_bit_or_none(mark, good, compared):
    assert (payout.is_good(make_rules(), mark), payout.is_compared(mark)) == (good, compared)
