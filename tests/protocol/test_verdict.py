from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.ballot import Mark
from openflock.protocol.types import Flag, Judgement, Round, Verdict
from openflock.protocol.verdict import (
    MERGED_VERDICTS,
    Voice,
    compute_judgement,
    compute_lower_median,
    is_witness_denied,
    list_accepted,
)

from .helpers import make_rules

GOOD, BAD, NEUTRAL = Mark(100), Mark(-100), Mark(0)
UNAVAILABLE, INADMISSIBLE, SUSPECT, ABSTAIN = (Mark(100, flag) for flag in Flag)

marks = st.builds(Mark, st.integers(-2048, 2047), st.integers(0, 15).map(Flag))
weights = st.integers(0, 2**88)
scores = st.integers(-2048, 2047)
voices = st.lists(st.builds(Voice, st.integers(0, 2), st.integers(1, 2**88), marks, scores), max_size=12)
heard = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 100), marks), max_size=12)


def hear(*said, domain=0):
    """One voter of weight one for each mark."""
    return [Voice(domain, 1, mark) for mark in said]


def judge(voices, accused=False, domain=0, own=0, **overrides):
    return compute_judgement(make_rules(**overrides), voices, own, domain, accused).verdict


# --- Properties ----------------------------------------------------------------------------------------------


@given(voices, weights, st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_voices_does_not_matter(voices, own, accused, random):
    shuffled = random.sample(voices, len(voices))
    rules = make_rules()
    assert compute_judgement(rules, voices, own, 1, accused) == compute_judgement(rules, shuffled, own, 1, accused)
    assert is_witness_denied(voices) == is_witness_denied(shuffled)


@given(voices, weights, st.integers(1, 5))
def test_weights_matter_only_by_their_shares(voices, own, factor):
    rules = make_rules()
    scaled = [replace(voice, weight=voice.weight * factor) for voice in voices]
    assert compute_judgement(rules, voices, own, 0, True) == compute_judgement(rules, scaled, own * factor, 0, True)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 9)), min_size=1, max_size=9))
def test_the_median_is_the_lower_one_of_the_scores_written_out_by_weight(scored):
    written = sorted(score for score, weight in scored for _ in range(weight))
    median = compute_lower_median(scored)
    assert median == written[(len(written) - 1) // 2]


@given(voices, st.booleans())
def test_only_a_paid_proposal_has_a_benefit_within_bounds(voices, accused):
    rules = make_rules()
    judgement = compute_judgement(rules, voices, 0, 0, accused)
    if judgement.verdict == Verdict.PAID:
        assert rules.min_benefit <= judgement.benefit <= rules.full_benefit
    else:
        assert judgement.benefit == 0


@given(voices)
def test_without_a_witness_nobody_is_suspect(voices):
    assert judge(voices) != Verdict.SUSPECT


# --- What a third can do -------------------------------------------------------------------------------------


def weigh(said):
    return sum(weight for _, weight, _ in said)


def voice(said):
    return [Voice(domain, weight, mark) for domain, weight, mark in said]


def is_allowed(said, own, verdict):
    """Merged; or called inadmissible by two thirds of the others, who are few where the proposer holds over half."""
    return verdict in MERGED_VERDICTS or (verdict == Verdict.INADMISSIBLE and own > weigh(said))


@given(heard, heard, st.integers(0, 100), st.integers(0, 100))
def test_a_coalition_of_three_tenths_rejects_nothing_that_the_others_praise(honest, malicious, own, slack):
    """Whatever it says, in whichever domains, and whoever proposes; but see `is_allowed` where that is half of all."""
    rest = max(1, -(-7 * weigh(malicious) // 3) - weigh(honest) - own) + slack
    praising = [*((domain, weight, GOOD) for domain, weight, _ in honest), (0, rest, GOOD)]
    assert is_allowed([*praising, *malicious], own, judge(voice([*praising, *malicious]), own=own))


@given(heard, heard, st.integers(0, 100), st.integers(0, 100))
def test_a_coalition_of_three_tenths_neither_upholds_nor_denies_a_witness(honest, malicious, own, slack):
    """As long as the proposer alone does not hold half of all weight: its own says nothing of its own slot."""
    own = min(own, weigh(honest) + weigh(malicious))
    rest = max(1, -(-7 * weigh(malicious) // 3) - weigh(honest) - own, own - weigh(honest) - weigh(malicious)) + slack
    said = voice([*((domain, weight, GOOD) for domain, weight, _ in honest), (0, rest, GOOD), *malicious])
    assert judge(said, accused=True, own=own) in MERGED_VERDICTS
    said = voice([*((domain, weight, SUSPECT) for domain, weight, _ in honest), (0, rest, SUSPECT), *malicious])
    assert not is_witness_denied(said)


@given(heard, st.integers(0, 100), st.booleans())
def test_what_all_others_see_harmed_is_never_merged_for_a_coalition_of_three_tenths(honest, own, muted):
    """Not even if all of it votes in one domain, to outweigh whoever holds it."""
    if not honest:
        return
    total = weigh(honest) * 10 // 7
    coalition = total - weigh(honest)
    own = min(own, coalition)
    praise = [(honest[0][0] if muted else 2, coalition - own, GOOD)] if coalition > own else []
    said = [(domain, weight, BAD) for domain, weight, _ in honest]
    assert judge(voice([*said, *praise]), own=own) == Verdict.HARMFUL


@pytest.mark.parametrize("word", [BAD, UNAVAILABLE, INADMISSIBLE, ABSTAIN])
@pytest.mark.parametrize(("malicious", "merged"), [(3, True), (4, False)])
@pytest.mark.parametrize("domain", [0, 1])
def test_of_ten_equal_nodes_three_block_nothing_and_four_do(word, malicious, merged, domain):
    """The tenth proposes: of the voices alone three are a third, of all ten they are not."""
    said = [*hear(*[GOOD] * (9 - malicious)), *hear(*[word] * malicious, domain=1)]
    assert (judge(said, domain=domain, own=1) in MERGED_VERDICTS) == merged


@pytest.mark.parametrize("word", [BAD, UNAVAILABLE, ABSTAIN])
def test_exactly_a_third_of_the_weight_blocks_nothing(word):
    assert judge([*hear(*[GOOD] * 6), *hear(*[word] * 3, domain=1)]) in MERGED_VERDICTS


@pytest.mark.parametrize("word", [BAD, UNAVAILABLE, INADMISSIBLE, ABSTAIN])
@pytest.mark.parametrize(("own", "merged"), [(20, True), (0, False)])
def test_a_heavy_proposer_s_own_ballot_keeps_three_tenths_from_being_a_third(word, own, merged):
    """Of 100, 30 are malicious and 20 the proposer's: whose ballot is not opened makes the rest fewer."""
    said = [Voice(0, 50, GOOD), Voice(1, 30, word)]
    assert (judge(said, own=own) in MERGED_VERDICTS) == merged


@pytest.mark.parametrize("own", [0, 30, 90])
def test_a_proposer_s_own_weight_is_no_shield_where_two_thirds_uphold(own):
    assert judge([Voice(0, 70, INADMISSIBLE)], own=own) == Verdict.INADMISSIBLE
    assert judge([Voice(0, 70, SUSPECT)], accused=True, own=own) == Verdict.SUSPECT


def test_nobody_s_score_merges_nothing_however_heavy_the_proposer():
    assert judge([Voice(0, 1, ABSTAIN)], own=10) == Verdict.UNJUDGED


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


@pytest.mark.parametrize(("harmed", "verdict"), [(2, Verdict.UNPAID), (3, Verdict.HARMFUL)])
def test_a_domain_objects_by_more_than_half_of_its_scored_weight(harmed, verdict):
    assert judge(hear(*[BAD] * harmed, *[GOOD] * (4 - harmed), ABSTAIN)) == verdict


@pytest.mark.parametrize(("harmed", "verdict"), [(2, Verdict.PAID), (3, Verdict.HARMFUL)])
def test_one_harmed_domain_is_enough_if_it_holds_more_than_a_third(harmed, verdict):
    assert judge(hear(*[GOOD] * 4) + hear(*[BAD] * harmed, domain=1)) == verdict


def test_the_harmed_of_several_objecting_domains_add_up():
    assert judge(hear(*[GOOD] * 3) + hear(BAD, domain=1) + hear(BAD, domain=2)) == Verdict.HARMFUL


def test_who_saw_harm_in_a_domain_that_does_not_object_does_not_count():
    assert judge(hear(GOOD, GOOD, BAD) + hear(GOOD, GOOD, BAD, domain=1) + hear(BAD, domain=2)) == Verdict.PAID


def test_who_saw_no_harm_in_a_domain_that_objects_does_not_count():
    assert judge(hear(*[GOOD] * 4) + hear(BAD, BAD, GOOD, domain=1)) == Verdict.PAID


def test_a_single_voter_objects_by_its_weight_as_several_would():
    assert judge([*hear(GOOD, GOOD), Voice(1, 2, BAD)]) == Verdict.HARMFUL


def test_without_a_quorum_any_domain_objects():
    assert judge(hear(*[GOOD] * 9) + hear(BAD, domain=1), domain_quorum=0) == Verdict.HARMFUL


@pytest.mark.parametrize(("score", "benefit"), [(49, 0), (50, 50), (200, 200), (201, 200), (2047, 200)])
def test_a_benefit_counts_from_the_least_to_the_full_one(score, benefit):
    judgement = compute_judgement(make_rules(), hear(Mark(score), Mark(score)), 0, 0, False)
    assert judgement == Judgement(Verdict.PAID if benefit else Verdict.UNPAID, benefit)


def test_a_benefit_is_seen_in_the_proposer_s_own_domain():
    assert judge(hear(NEUTRAL, NEUTRAL) + hear(GOOD, GOOD, domain=1), domain=1) == Verdict.PAID
    assert judge(hear(NEUTRAL, NEUTRAL) + hear(GOOD, GOOD, domain=1), domain=0) == Verdict.UNPAID


def test_a_benefit_is_seen_by_two():
    assert judge(hear(NEUTRAL, NEUTRAL) + hear(GOOD, domain=1), domain=1) == Verdict.UNPAID


def test_what_has_no_proof_of_benefit_is_rejected_where_the_rules_say_so():
    assert judge(hear(*[NEUTRAL] * 3), reject_unproven=1) == Verdict.UNPROVEN


# --- Sealed rows ---------------------------------------------------------------------------------------------


def see(*scores, mark=NEUTRAL, domain=0):
    """One voter of weight one for each score on sealed rows; 0 is none."""
    return [Voice(domain, 1, mark, score) for score in scores]


@pytest.mark.parametrize(("scores", "verdict"), [([100], Verdict.UNPAID), ([100, 100], Verdict.PAID)])
def test_what_two_see_on_sealed_rows_proves_the_benefit_of_a_lone_holder(scores, verdict):
    assert judge(see(*scores), domain=2) == verdict


def test_on_sealed_rows_a_ring_cannot_praise_itself():
    """Three of ten hold a domain alone, and call good what is worth nothing."""
    honest, ring = see(*[-1] * 7), see(*[2047] * 2, mark=GOOD, domain=1)
    assert judge([*honest, *ring], own=1, domain=1) == Verdict.UNPROVEN
    assert judge([replace(voice, sealed=0) for voice in [*honest, *ring]], own=1, domain=1) == Verdict.PAID


@pytest.mark.parametrize(("scores", "seen", "verdict"), [(-1, 6, Verdict.UNPROVEN), (50, 6, Verdict.PAID)])
def test_sealed_rows_decide_what_over_half_of_the_weight_saw_there(scores, seen, verdict):
    """Of ten; whose own rows, in the proposer's domain, say the contrary. Five would not do."""
    mark = GOOD if scores < 50 else NEUTRAL
    holders = Verdict.PAID if scores < 50 else Verdict.UNPAID
    assert judge(see(*[scores] * seen, *[0] * (10 - seen), mark=mark)) == verdict
    assert judge(see(*[scores] * (seen - 1), *[0] * (11 - seen), mark=mark)) == holders


@pytest.mark.parametrize(("score", "benefit"), [(49, 0), (50, 50), (200, 200), (201, 200), (2047, 200)])
def test_a_benefit_on_sealed_rows_is_what_over_half_of_the_weight_saw_at_least(score, benefit):
    judgement = compute_judgement(make_rules(), see(*[2047] * 2, *[score] * 4, *[-2048] * 4), 0, 0, False)
    assert judgement == Judgement(Verdict.PAID, benefit, sealed=True) if benefit else Judgement(Verdict.UNPAID)


@pytest.mark.parametrize(("harmed", "verdict"), [(5, Verdict.UNPAID), (6, Verdict.HARMFUL)])
def test_harm_on_sealed_rows_takes_more_than_half_of_the_weight(harmed, verdict):
    assert judge(see(*[-21] * harmed, *[100] * (10 - harmed))) == verdict


def test_harm_on_sealed_rows_begins_beyond_the_tolerance_too():
    assert judge(see(*[-20] * 6)) == Verdict.UNPROVEN


@given(heard, heard, scores, st.integers(0, 100), st.integers(0, 100))
def test_three_tenths_invent_no_sealed_rows(honest, malicious, score, own, slack):
    """Where the creator opened none, what some say of them changes nothing."""
    rest = max(1, -(-7 * weigh(malicious) // 3) - weigh(honest) - own) + slack
    silent = voice([*honest, (0, rest, GOOD), *malicious])
    told = [*silent[: len(honest) + 1], *(replace(liar, sealed=score) for liar in voice(malicious))]
    rules = make_rules()
    assert compute_judgement(rules, told, own, 0, False) == compute_judgement(rules, silent, own, 0, False)


@given(heard, heard, scores, st.integers(1, 2047), st.integers(0, 100), st.integers(0, 100))
def test_three_tenths_reject_and_prove_nothing_where_some_have_not_seen_the_rows(
    honest, malicious, lie, seen, own, slack
):
    """All who look see a gain, and some do not look; or nobody sees one. Whoever proposes."""
    rest = max(1, -(-7 * weigh(malicious) // 3) - weigh(honest) - own) + slack
    liars = [replace(liar, sealed=lie) for liar in voice(malicious)]
    praising = [Voice(domain, weight, GOOD, seen) for domain, weight, _ in honest]
    verdict = judge([*praising, Voice(0, rest, GOOD), *liars], own=own)
    said = [*honest, (0, rest, GOOD), *malicious]
    assert is_allowed(said, own, verdict) or (verdict == Verdict.UNPROVEN and seen < 50)  # less than `min_benefit`
    disproving = [Voice(domain, weight, NEUTRAL, -1) for domain, weight, _ in honest]
    judged = compute_judgement(make_rules(), [*disproving, Voice(0, rest, NEUTRAL, -1), *liars], own, 3, False)
    assert not judged.sealed


# --- Witnesses -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("denying", "denied"), [(0, False), (3, False), (4, True), (6, True)])
def test_a_witness_is_denied_by_two_thirds(denying, denied):
    assert is_witness_denied(hear(*[GOOD] * denying, *[SUSPECT] * (6 - denying))) == denied


@pytest.mark.parametrize("silent", [UNAVAILABLE, INADMISSIBLE, ABSTAIN])
def test_who_could_not_test_a_witness_does_not_deny_it(silent):
    assert not is_witness_denied(hear(GOOD, silent, silent))


def test_nobody_denies_nothing():
    assert not is_witness_denied([])


def test_only_paid_and_unpaid_are_accepted():
    judgements = tuple(map(Judgement, Verdict))
    assert list_accepted(Round(1, judgements=judgements)) == [int(Verdict.PAID), int(Verdict.UNPAID)]
