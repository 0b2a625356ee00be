import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.ballot import Mark
from openflock.protocol.types import Flag, Judgement, Verdict
from openflock.protocol.verdict import Voice, compute_judgement, compute_lower_median, is_witness_denied

from .helpers import make_rules

GOOD, BAD, NEUTRAL = Mark(100), Mark(-100), Mark(0)
UNAVAILABLE, INADMISSIBLE, SUSPECT, ABSTAIN = (Mark(100, flag) for flag in Flag)

marks = st.builds(Mark, st.integers(-2048, 2047), st.integers(0, 15).map(Flag))
voices = st.lists(st.builds(Voice, st.integers(0, 2), st.integers(1, 2**88), marks), max_size=12)


def hear(*said, domain=0):
    """One voter of weight one for each mark."""
    return [Voice(domain, 1, mark) for mark in said]


def judge(voices, accused=False, domain=0, **overrides):
    return compute_judgement(make_rules(**overrides), voices, domain, accused).verdict


# --- Properties ----------------------------------------------------------------------------------------------


@given(voices, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_voices_does_not_matter(voices, accused, random):
    shuffled = random.sample(voices, len(voices))
    rules = make_rules()
    assert compute_judgement(rules, voices, 1, accused) == compute_judgement(rules, shuffled, 1, accused)
    assert is_witness_denied(voices) == is_witness_denied(shuffled)


@given(voices, st.integers(1, 5))
def test_weights_matter_only_by_their_shares(voices, factor):
    scaled = [Voice(voice.domain, voice.weight * factor, voice.mark) for voice in voices]
    assert compute_judgement(make_rules(), voices, 0, True) == compute_judgement(make_rules(), scaled, 0, True)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 9)), min_size=1, max_size=9))
def test_the_median_is_the_lower_one_of_the_scores_written_out_by_weight(scored):
    written = sorted(score for score, weight in scored for _ in range(weight))
    median = compute_lower_median([Voice(0, weight, Mark(score)) for score, weight in scored])
    assert median == written[(len(written) - 1) // 2]


@given(voices, st.booleans())
def test_only_a_paid_proposal_has_a_benefit_within_bounds(voices, accused):
    rules = make_rules()
    judgement = compute_judgement(rules, voices, 0, accused)
    if judgement.verdict == Verdict.PAID:
        assert rules.min_benefit <= judgement.benefit <= rules.full_benefit
    else:
        assert judgement.benefit == 0


@given(voices)
def test_without_a_witness_nobody_is_suspect(voices):
    assert judge(voices) != Verdict.SUSPECT


# --- The list of verdicts ------------------------------------------------------------------------------------


def test_nobody_s_word_judges_nothing():
    assert judge([]) == Verdict.UNJUDGED


@pytest.mark.parametrize(("missing", "verdict"), [(1, Verdict.PAID), (2, Verdict.UNAVAILABLE)])
def test_unavailable_to_more_than_a_third_is_excluded(missing, verdict):
    assert judge(hear(*[UNAVAILABLE] * missing, *[GOOD] * (3 - missing))) == verdict


@pytest.mark.parametrize(("refusing", "verdict"), [(3, Verdict.UNJUDGED), (4, Verdict.INADMISSIBLE)])
def test_inadmissible_takes_two_thirds(refusing, verdict):
    assert judge(hear(*[INADMISSIBLE] * refusing, *[GOOD] * (6 - refusing))) == verdict


@pytest.mark.parametrize(("upholding", "verdict"), [(3, Verdict.PAID), (4, Verdict.SUSPECT)])
def test_suspect_takes_a_witness_upheld_by_two_thirds(upholding, verdict):
    assert judge(hear(*[SUSPECT] * upholding, *[GOOD] * (6 - upholding)), accused=True) == verdict


def test_who_abstains_does_not_uphold_a_witness():
    assert judge(hear(*[SUSPECT] * 3, *[Mark(0, Flag.SUSPECT | Flag.ABSTAIN)] * 3), accused=True) == Verdict.UNJUDGED


@pytest.mark.parametrize(("abstaining", "verdict"), [(1, Verdict.PAID), (2, Verdict.UNJUDGED)])
def test_a_proposal_needs_two_thirds_to_score_it(abstaining, verdict):
    assert judge(hear(*[ABSTAIN] * abstaining, *[GOOD] * (3 - abstaining))) == verdict


@pytest.mark.parametrize(("score", "verdict"), [(-20, Verdict.UNPAID), (-21, Verdict.HARMFUL)])
def test_harm_begins_beyond_the_tolerance(score, verdict):
    assert judge(hear(*[Mark(score)] * 3)) == verdict


def test_the_lower_median_lets_half_of_a_domain_object():
    assert judge(hear(BAD, BAD, GOOD, GOOD)) == Verdict.HARMFUL


def test_one_harmed_domain_is_enough():
    assert judge(hear(*[GOOD] * 4) + hear(BAD, BAD, domain=1)) == Verdict.HARMFUL


def test_a_domain_under_its_quorum_cannot_object():
    assert judge(hear(*[GOOD] * 5) + hear(BAD, BAD, domain=1)) == Verdict.PAID


def test_a_single_voter_cannot_object_for_a_domain():
    assert judge([*hear(GOOD, GOOD), Voice(1, 2, BAD)]) == Verdict.PAID


@pytest.mark.parametrize(("score", "benefit"), [(49, 0), (50, 50), (200, 200), (201, 200), (2047, 200)])
def test_a_benefit_counts_from_the_least_to_the_full_one(score, benefit):
    judgement = compute_judgement(make_rules(), hear(Mark(score), Mark(score)), 0, False)
    assert judgement == Judgement(Verdict.PAID if benefit else Verdict.UNPAID, benefit)


def test_a_benefit_is_seen_in_the_proposer_s_own_domain():
    assert judge(hear(NEUTRAL, NEUTRAL) + hear(GOOD, GOOD, domain=1), domain=1) == Verdict.PAID
    assert judge(hear(NEUTRAL, NEUTRAL) + hear(GOOD, GOOD, domain=1), domain=0) == Verdict.UNPAID


def test_a_benefit_is_seen_by_two():
    assert judge(hear(NEUTRAL, NEUTRAL) + hear(GOOD, domain=1), domain=1) == Verdict.UNPAID


def test_what_has_no_proof_of_benefit_is_rejected_where_the_rules_say_so():
    assert judge(hear(*[NEUTRAL] * 3), reject_unproven=1) == Verdict.UNPROVEN


# --- Witnesses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("denying", "denied"), [(0, False), (3, False), (4, True), (6, True)])
def test_a_witness_is_denied_by_two_thirds(denying, denied):
    assert is_witness_denied(hear(*[GOOD] * denying, *[SUSPECT] * (6 - denying))) == denied


@pytest.mark.parametrize("silent", [UNAVAILABLE, INADMISSIBLE, ABSTAIN])
def test_who_could_not_test_a_witness_does_not_deny_it(silent):
    assert not is_witness_denied(hear(GOOD, silent, silent))


def test_nobody_denies_nothing():
    assert not is_witness_denied([])
