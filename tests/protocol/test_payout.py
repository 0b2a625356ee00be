from fractions import Fraction
from itertools import permutations, product

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
shares = st.integers(0, 10_000)
agreements = st.integers(1, 16).flatmap(lambda n: st.tuples(st.integers(-n, n), st.just(n)))
answers = st.integers(1, 16).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ranks = st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 3), st.integers(-3, 3)), max_size=16)
ALL = (1, 1)


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
        agreement, answered, halves = data.draw(agreements), data.draw(answers), data.draw(st.integers(1, 2))
        spent += payout.compute_proposal_pay(rules, budget, weight, total, benefit, alike)
        spent += payout.compute_vote_pay(rules, budget, weight, total, halves, agreement, answered)
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
    agreement, answered = data.draw(agreements), data.draw(answers)
    whole, one, other = (
        payout.compute_vote_pay(rules, budget, weight, total, halves, agreement, answered)
        for weight in (weights[0], part, weights[0] - part)
    )
    assert one + other <= whole


def test_rounding_never_pays_a_split():
    rules = share_rules(6000, 5000)
    for budget, halves, numerator in product(range(40), (1, 2), (-2, -1, 0, 1, 2)):
        pay = [payout.compute_vote_pay(rules, budget, weight, 4, halves, (numerator, 2), ALL) for weight in range(4)]
        assert pay[1] + pay[1] <= pay[2]
        assert pay[1] + pay[2] <= pay[3]


def test_each_half_of_the_flat_part_is_earned_by_itself():
    rules = share_rules(0, 0)
    assert [payout.compute_vote_pay(rules, 1000, 1, 2, halves, (0, 1), ALL) for halves in (1, 2)] == [250, 500]


@pytest.mark.parametrize(("agreement", "pay"), [((-1, 1), 400), ((0, 1), 700), ((1, 2), 850), ((1, 1), 1000)])
def test_agreement_moves_its_share_both_ways(agreement, pay):
    assert payout.compute_vote_pay(share_rules(0, 3000), 1000, 1, 1, 2, agreement, ALL) == pay


def test_what_is_not_answered_is_not_paid():
    rules = share_rules(0, 3000)
    pays = [payout.compute_vote_pay(rules, 1000, 1, 1, 2, (1, 1), (answered, 4)) for answered in range(5)]
    assert pays == [0, 250, 500, 750, 1000]


@pytest.mark.parametrize(
    ("flag", "verdict", "paid"),
    [
        (Flag(0), Verdict.UNAVAILABLE, True), (Flag(0), Verdict.PAID, True), (Flag.SUSPECT, Verdict.PAID, True),
        (Flag.UNAVAILABLE, Verdict.PAID, False), (Flag.UNAVAILABLE, Verdict.UNAVAILABLE, True),
        (Flag.UNAVAILABLE, Verdict.INADMISSIBLE, False), (Flag.INADMISSIBLE, Verdict.INADMISSIBLE, True),
        (Flag.INADMISSIBLE, Verdict.UNAVAILABLE, False), (Flag.INADMISSIBLE, Verdict.UNJUDGED, False),
        (Flag.ABSTAIN, Verdict.UNJUDGED, False), (Flag.ABSTAIN, Verdict.PAID, False),
    ],
)  # fmt: skip
def test_an_answer_is_a_score_or_a_refusal_that_the_verdict_confirms(flag, verdict, paid):
    assert payout.is_answer(Mark(9, flag), verdict) == paid


# --- Agreement -----------------------------------------------------------------------------------------------


@given(ranks, st.integers(-3, 3))
def test_constant_votes_agree_with_nobody(scores, mine):
    assert payout.compute_agreement([(domain, mine, theirs) for domain, _, theirs in scores])[0] == 0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), max_size=5))
def test_guesses_agree_with_nobody_in_expectation(theirs):
    """Whatever the other says: any order of one's own scores is as likely as any other."""
    every = [
        payout.compute_agreement([(domain, score, other) for score, (domain, other) in zip(mine, theirs, strict=True)])
        for mine in permutations(range(len(theirs)))
    ]
    assert sum(Fraction(*agreement) for agreement in every) == 0


@given(st.lists(st.integers(-3, 3), max_size=5))
def test_guesses_are_paid_the_flat_part_in_expectation(theirs):
    """The part that agreement moves may be negative: cut at zero, guessing would pay."""
    rules = share_rules(0, 3000)
    every = [
        payout.compute_agreement([(0, mine, other) for mine, other in zip(order, theirs, strict=True)])
        for order in permutations(range(len(theirs)))
    ]
    pays = [payout.compute_vote_pay(rules, 2**60, 1, 1, 2, agreement, ALL) for agreement in every]
    flat = payout.compute_vote_pay(rules, 2**60, 1, 1, 2, (0, 1), ALL)
    assert abs(sum(pays) - flat * len(every)) <= len(every)


@given(ranks)
def test_agreement_is_a_symmetric_fraction_within_one_that_turns_with_the_order(scores):
    numerator, denominator = payout.compute_agreement(scores)
    assert -denominator <= numerator <= denominator
    assert (numerator, denominator) == payout.compute_agreement([(domain, b, a) for domain, a, b in scores])
    assert (-numerator, denominator) == payout.compute_agreement([(domain, -a, b) for domain, a, b in scores])


@given(ranks, st.integers(1, 5), st.integers(-5, 5))
def test_only_the_order_of_scores_matters(scores, scale, shift):
    moved = [(domain, scale * mine + shift, theirs) for domain, mine, theirs in scores]
    assert payout.compute_agreement(moved) == payout.compute_agreement(scores)


@given(st.lists(st.integers(), min_size=2, max_size=16, unique=True))
def test_who_sees_the_same_agrees_wholly(scores):
    assert Fraction(*payout.compute_agreement([(0, score, score) for score in scores])) == 1


def test_updates_of_different_domains_are_not_ranked():
    assert payout.compute_agreement([(0, 9, 9), (1, 1, 1), (2, 5, 5)]) == (0, 1)


# --- Old updates ---------------------------------------------------------------------------------------------


def test_an_old_update_is_neither_paid_nor_counted_among_its_likes():
    judgements, word = [Judgement(Verdict.PAID, 100)] * 3, 1 << 64 | 0x200
    assert [payout.is_paid(judgement, word, slot) for slot, judgement in enumerate(judgements)] == [False, True, True]
    assert [payout.count_alike(judgements, word, slot) for slot in range(1, 3)] == [1, 1]


@given(st.lists(st.booleans(), min_size=16, max_size=16), st.integers(0, 2**64 - 1))
def test_the_word_tells_apart_what_is_old_and_what_is_alike(stale, originals):
    word = sum(1 << 64 + slot for slot in range(16) if stale[slot]) | originals
    assert [payout.is_stale(word, slot) for slot in range(16)] == stale
    assert all(payout.get_original(word, slot) == payout.get_original(originals, slot) for slot in range(16))
