"""The fault table, row by row: five nodes of equal stake propose and vote, four of them judge each proposal."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.ballot import Mark
from openflock.protocol.calls import Drawn, Judged, Resolve, Settled
from openflock.protocol.settlement import KEPT_MERGES, rank_witnesses
from openflock.protocol.types import (
    BURN_ADDRESS,
    Act,
    Fault,
    Flag,
    Outcome,
    Phase,
    Reason,
    Verdict,
    Witness,
)

from .helpers import (
    ACCUSER,
    CREATOR,
    FREELOADER,
    GOOD,
    NODES,
    OUTSIDER,
    POOL,
    PROPOSER,
    RIVAL,
    SKEPTIC,
    STAKE,
    VOTER,
    Play,
    against,
    get_credits,
    get_events,
    get_losses,
    get_outcome,
    get_verdict,
    make_digest,
    make_ledger,
    only,
    play_round,
)

BUDGET = POOL // 3
SUSPECT, UNAVAILABLE, INADMISSIBLE = (Mark(100, flag) for flag in (Flag.SUSPECT, Flag.UNAVAILABLE, Flag.INADMISSIBLE))
ACCUSED = {ACCUSER: (PROPOSER, 100)}


def settle(play=None, **overrides):
    return play_round(make_ledger(**overrides), play)


# --- No-shows ------------------------------------------------------------------------------------------------


def test_who_commits_nothing_pays_a_small_fee_for_each_act():
    ledger = settle(Play(absent={Act.UPDATE: [FREELOADER], Act.BALLOT: [FREELOADER], Act.ATTESTATION: [FREELOADER]}))
    assert get_losses(ledger, FREELOADER) == {Fault.NO_SHOW: 30}
    assert get_credits(ledger, FREELOADER) == {}


def test_who_does_not_open_pays_as_who_does_not_commit():
    ledger = settle(Play(hiding={Act.UPDATE: [FREELOADER], Act.ATTESTATION: [FREELOADER]}))
    assert get_losses(ledger, FREELOADER) == {Fault.NO_SHOW: 20}


def test_no_shows_are_capped_in_each_round():
    play = Play(absent={Act.UPDATE: [FREELOADER], Act.ATTESTATION: [FREELOADER]}, hiding={Act.BALLOT: [FREELOADER]})
    ledger = settle(play)
    assert get_losses(ledger, FREELOADER) == {Fault.NO_SHOW: 15, Fault.HIDDEN_BALLOT: 25}
    assert sum(get_losses(play_round(ledger, play), FREELOADER).values()) == 40  # no longer a member: not drawn again


def test_fees_are_burned():
    ledger = settle(Play(absent={Act.UPDATE: [FREELOADER]}))
    assert get_credits(ledger, BURN_ADDRESS) == {Reason.BURN: 10}


def test_a_ballot_hidden_after_others_opened_costs_more():
    ledger = settle(Play(hiding={Act.BALLOT: [SKEPTIC]}, absent={Act.ATTESTATION: [SKEPTIC]}))
    assert get_losses(ledger, SKEPTIC) == {Fault.HIDDEN_BALLOT: 25, Fault.NO_SHOW: 10}


def test_a_ballot_hidden_while_nobody_opened_is_a_mere_no_show():
    ledger = settle(Play(hiding={Act.BALLOT: NODES}))
    assert [get_losses(ledger, node) for node in NODES] == [{Fault.NO_SHOW: 10}] * 5


def test_acts_that_did_not_take_place_cost_nothing():
    ledger = settle(Play(absent={Act.UPDATE: NODES}))
    assert [get_losses(ledger, node) for node in NODES] == [{Fault.NO_SHOW: 10}] * 5


# --- Unavailable ---------------------------------------------------------------------------------------------


def test_an_unavailable_update_is_excluded_for_the_no_show_fee():
    ledger = play_round(make_ledger(), Play(mark=against(PROPOSER, UNAVAILABLE, by=(VOTER, SKEPTIC))), Phase.ATTEST)
    assert Verdict.UNAVAILABLE in [judged.verdict for judged in get_events(ledger, Judged)]
    play_round(ledger)
    assert get_losses(ledger, PROPOSER) == {Fault.UNAVAILABLE: 10}
    assert Reason.PROPOSAL not in get_credits(ledger, PROPOSER)


def test_who_flagged_a_merged_update_unavailable_need_not_attest():
    play = Play(mark=against(PROPOSER, UNAVAILABLE, by=[VOTER]), absent={Act.ATTESTATION: [VOTER, SKEPTIC]})
    ledger = settle(play, min_nodes=3)
    assert get_losses(ledger, VOTER) == {}
    assert get_losses(ledger, SKEPTIC) == {Fault.NO_SHOW: 10}


def test_who_flagged_a_merged_update_inadmissible_need_not_attest():
    play = Play(mark=against(PROPOSER, INADMISSIBLE, by=[VOTER]), absent={Act.ATTESTATION: [VOTER]})
    assert get_losses(settle(play), VOTER) == {}


def test_what_a_proposer_flags_of_its_own_update_excuses_nothing():
    play = Play(mark=against(PROPOSER, UNAVAILABLE, by=[PROPOSER]), absent={Act.ATTESTATION: [PROPOSER]})
    assert get_losses(settle(play), PROPOSER) == {Fault.NO_SHOW: 10}


def test_who_flagged_only_an_excluded_update_must_attest():
    mark = against(PROPOSER, UNAVAILABLE, by=(VOTER, SKEPTIC))
    ledger = settle(Play(mark=mark, absent={Act.ATTESTATION: [VOTER]}))
    assert get_losses(ledger, VOTER) == {Fault.NO_SHOW: 10}


# --- Inadmissible, harmful, unproven -------------------------------------------------------------------------


def test_an_inadmissible_update_costs_a_part_of_the_bond():
    ledger = settle(Play(mark=against(PROPOSER, INADMISSIBLE, by=(RIVAL, VOTER, SKEPTIC))))
    assert get_losses(ledger, PROPOSER) == {Fault.INADMISSIBLE: STAKE // 2}
    assert get_credits(ledger, BURN_ADDRESS) == {Reason.BURN: STAKE // 2}
    assert get_outcome(ledger) == Outcome.MERGED


def test_a_harmful_update_is_excluded_and_never_slashed():
    ledger = play_round(make_ledger(), Play(mark=against(PROPOSER, Mark(-2048))), Phase.ATTEST)
    assert get_verdict(ledger, PROPOSER) == Verdict.HARMFUL
    play_round(ledger)
    assert get_losses(ledger, PROPOSER) == {}
    assert Reason.PROPOSAL not in get_credits(ledger, PROPOSER)


def test_an_update_without_benefit_is_merged_unpaid():
    ledger = settle(Play(mark=lambda voter, proposer: Mark(0)))
    assert get_outcome(ledger) == Outcome.MERGED
    assert all(Reason.PROPOSAL not in get_credits(ledger, node) for node in NODES)


def test_an_update_without_benefit_is_rejected_where_the_rules_say_so():
    ledger = settle(Play(mark=lambda voter, proposer: Mark(0)), reject_unproven=1)
    assert get_outcome(ledger) == Outcome.UNCHANGED
    assert all(get_losses(ledger, node) == {} for node in NODES)


# --- Witnesses -----------------------------------------------------------------------------------------------


def test_a_backdoor_costs_most_of_the_bond_and_its_accuser_gets_half_of_it():
    ledger = settle(Play(mark=against(PROPOSER, SUSPECT), witnesses=ACCUSED))
    assert get_losses(ledger, PROPOSER) == {Fault.BACKDOOR: 900}
    assert get_credits(ledger, ACCUSER) == {Reason.BOUNTY: 450, Reason.REFUND: 100}
    assert get_credits(ledger, BURN_ADDRESS) == {Reason.BURN: 450}


def test_accusers_share_one_bounty():
    ledger = settle(Play(mark=against(PROPOSER, SUSPECT), witnesses={ACCUSER: (PROPOSER, 100), VOTER: (PROPOSER, 120)}))
    assert get_credits(ledger, ACCUSER)[Reason.BOUNTY] == get_credits(ledger, VOTER)[Reason.BOUNTY] == 225


def test_a_bounty_is_half_of_what_was_actually_taken():
    rich_bond = Play(mark=against(PROPOSER, SUSPECT), witnesses=ACCUSED, absent={Act.BALLOT: [PROPOSER]})
    ledger = settle(rich_bond, backdoor_slash=10_000)
    assert get_losses(ledger, PROPOSER) == {Fault.NO_SHOW: 10, Fault.BACKDOOR: STAKE - 10}
    assert get_credits(ledger, ACCUSER)[Reason.BOUNTY] == (STAKE - 10) // 2


def test_a_false_witness_loses_its_bond():
    ledger = settle(Play(witnesses=ACCUSED))
    assert get_credits(ledger, ACCUSER) == {}
    assert get_credits(ledger, BURN_ADDRESS) == {Reason.BURN: 100}


def test_an_inconclusive_witness_is_refunded():
    ledger = settle(Play(mark=against(PROPOSER, SUSPECT, by=(VOTER, SKEPTIC)), witnesses=ACCUSED))
    assert get_credits(ledger, ACCUSER) == {Reason.REFUND: 100}
    assert get_losses(ledger, PROPOSER) == {}


def test_a_witness_in_a_void_round_is_refunded():
    ledger = settle(Play(witnesses=ACCUSED, absent={Act.BALLOT: only(VOTER)}))
    assert get_outcome(ledger) == Outcome.VOID
    assert get_credits(ledger, ACCUSER) == {Reason.REFUND: 100}


def test_a_witness_never_opened_loses_its_bond():
    ledger = settle(Play(witnesses=ACCUSED, hiding={Act.WITNESS: [ACCUSER]}))
    assert get_credits(ledger, ACCUSER) == {}
    assert get_credits(ledger, BURN_ADDRESS) == {Reason.BURN: 100}


def test_suspicion_without_a_witness_costs_nobody():
    ledger = settle(Play(mark=against(PROPOSER, SUSPECT)))
    assert get_losses(ledger, PROPOSER) == {}


witness_lists = st.lists(
    st.builds(Witness, st.sampled_from(NODES), st.integers(1, 3), st.just(make_digest("w"))), max_size=6
)


@given(witness_lists, st.randoms(use_true_random=False))
def test_the_rank_of_witnesses_does_not_depend_on_their_order(witnesses, random):
    ranked = rank_witnesses(tuple(witnesses))
    assert ranked == rank_witnesses(tuple(random.sample(witnesses, len(witnesses))))
    assert [witness.bond for witness in ranked] == sorted((witness.bond for witness in witnesses), reverse=True)


# --- Wrong digests -------------------------------------------------------------------------------------------


def split_digest(node, act):
    """Three attest one digest and two another, so the committee cannot decide and all stake is asked."""
    wrong = node == FREELOADER or (node == SKEPTIC and act == Act.ATTESTATION)
    return make_digest("wrong" if wrong else "right")


def test_a_wrong_digest_costs_a_part_of_the_bond_only_after_an_appeal():
    ledger = settle(Play(digest=split_digest))
    assert get_outcome(ledger) == Outcome.MERGED
    assert get_losses(ledger, FREELOADER) == {}
    ledger.submit(Resolve(OUTSIDER, FREELOADER))
    ledger.submit(Resolve(OUTSIDER, FREELOADER))
    assert get_losses(ledger, FREELOADER) == {Fault.WRONG_DIGEST: 400}
    ledger.submit(Resolve(OUTSIDER, PROPOSER))
    assert get_losses(ledger, PROPOSER) == {}


def test_without_an_appeal_nobody_is_slashed_for_a_digest():
    ledger = settle(Play(digest=lambda node, act: make_digest("wrong" if node == FREELOADER else "right")))
    ledger.submit(Resolve(OUTSIDER, FREELOADER))
    assert get_outcome(ledger) == Outcome.MERGED
    assert get_losses(ledger, FREELOADER) == {}
    assert get_credits(ledger, FREELOADER)[Reason.VOTE] < get_credits(ledger, VOTER)[Reason.VOTE]


# --- Opinions and pay ----------------------------------------------------------------------------------------


def test_an_opinion_that_differs_costs_nothing():
    ledger = settle(Play(mark=lambda voter, proposer: Mark(-2048) if voter == SKEPTIC else GOOD))
    assert get_losses(ledger, SKEPTIC) == {}
    assert get_credits(ledger, SKEPTIC)[Reason.VOTE] > 0


def test_merged_proposals_are_paid_by_benefit():
    ledger = settle(Play(mark=against(PROPOSER, Mark(200))))
    pot = BUDGET * 6 // 10
    assert get_credits(ledger, PROPOSER)[Reason.PROPOSAL] == pot // 5
    assert get_credits(ledger, RIVAL)[Reason.PROPOSAL] == pot // 10


def test_a_rejected_rival_makes_nobody_richer():
    without = settle(Play(mark=against(RIVAL, Mark(-2048))))
    assert get_credits(settle(), PROPOSER)[Reason.PROPOSAL] == get_credits(without, PROPOSER)[Reason.PROPOSAL]


def test_near_duplicates_share_one_payout():
    ledger = settle(Play(originals={RIVAL: PROPOSER}))
    one, other, alone = (get_credits(ledger, node)[Reason.PROPOSAL] for node in (PROPOSER, RIVAL, VOTER))
    assert one == other == alone // 2


def test_what_is_not_spent_returns_to_the_creator():
    """Not to the pool: whoever stops others' pay would raise its own in later rounds."""
    ledger = settle()
    spent = get_events(ledger, Settled)[-1].spent
    assert 0 < spent < BUDGET
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: BUDGET - spent}
    assert ledger.state.pool == POOL - BUDGET


def test_budgets_are_alike_whatever_is_spent():
    ledger = make_ledger(rounds=4)
    for play in (Play(), Play(mark=lambda voter, proposer: Mark(-2048)), Play(vetoers=NODES)):
        play_round(ledger, play)
    assert [drawn.budget for drawn in get_events(ledger, Drawn)] == [POOL // 4] * 3


def test_constant_voters_get_the_flat_part():
    ledger = settle()
    flat = (BUDGET - BUDGET * 6 // 10) * 7 // 10 // 5
    assert [get_credits(ledger, node)[Reason.VOTE] for node in NODES] == [flat] * 5


def test_without_attestation_half_of_the_flat_part_is_lost():
    ledger = settle(Play(absent={Act.ATTESTATION: [FREELOADER]}))
    assert get_credits(ledger, FREELOADER)[Reason.VOTE] == get_credits(ledger, VOTER)[Reason.VOTE] // 2


RANKED = {node: Mark(100 + 10 * place) for place, node in enumerate(NODES)}
FLAT = (BUDGET - BUDGET * 6 // 10) * 7 // 10 // 5


def rank(voter, proposer):
    """All but one see which update is better; it calls all the same."""
    return GOOD if voter == FREELOADER else RANKED[proposer]


def test_who_ranks_as_its_peers_do_earns_more_than_who_does_not_look():
    for seed in range(4):  # who is compared with whom
        ledger = settle(Play(mark=rank, digest=lambda node, act, seed=seed: make_digest(str(seed))))
        pays = {node: get_credits(ledger, node)[Reason.VOTE] for node in NODES}
        assert pays[FREELOADER] == FLAT
        assert set(pays.values()) == {FLAT, (BUDGET - BUDGET * 6 // 10) // 5}


def test_what_was_refused_is_not_compared():
    """That a bad update is the worst all know; here only one is left to compare."""
    ledger = settle(Play(mark=lambda voter, proposer: Mark(50) if proposer == VOTER else Mark(-2000 - len(proposer))))
    assert [judged.verdict for judged in get_events(ledger, Judged)].count(Verdict.HARMFUL) == 4
    assert [get_credits(ledger, node)[Reason.VOTE] for node in NODES] == [FLAT] * 5


def test_a_voter_without_a_peer_in_its_domain_gets_the_flat_part():
    ledger = play_round(make_ledger(domains={VOTER: 1}), Play(mark=lambda voter, proposer: RANKED[proposer]))
    assert get_credits(ledger, VOTER)[Reason.VOTE] == FLAT
    assert get_credits(ledger, PROPOSER)[Reason.VOTE] > FLAT


SEEN = {node: 100 + 10 * place for place, node in enumerate(NODES)}


def test_who_does_not_look_at_the_sealed_rows_agrees_half_with_who_does():
    """All rank alike on their own rows; what the peers say of sealed ones counts as much."""
    play = Play(
        mark=lambda voter, proposer: RANKED[proposer],
        seal=lambda voter, proposer: None if voter == FREELOADER else SEEN[proposer],
    )
    for seed in range(4):  # who is compared with whom
        ledger = settle(replace(play, digest=lambda node, act, seed=seed: make_digest(str(seed))))
        pays = {node: get_credits(ledger, node)[Reason.VOTE] for node in NODES}
        whole = (BUDGET - BUDGET * 6 // 10) // 5
        assert pays[FREELOADER] == FLAT + (whole - FLAT) // 2
        assert set(pays.values()) == {whole, pays[FREELOADER]}


def test_where_rows_are_sealed_who_has_a_domain_to_itself_is_compared_with_all():
    """A ring in a domain of its own would else always meet itself, and agree without a look."""
    ring, pot = (VOTER, FREELOADER), BUDGET - BUDGET * 6 // 10
    whole, least = pot // 5, pot * 4 // 10 // 5

    def pay(seal):
        play = Play(mark=lambda voter, proposer: RANKED[proposer], seal=seal)
        ledger = play_round(make_ledger(domains=dict.fromkeys(ring, 1)), play)
        return {node: get_credits(ledger, node)[Reason.VOTE] for node in NODES}

    assert set(pay(lambda voter, proposer: SEEN[proposer]).values()) == {whole}
    pays = pay(lambda voter, proposer: 700 - SEEN[proposer] if voter in ring else SEEN[proposer])
    assert {pays[node] for node in ring} == {least}  # each is compared with somebody honest here
    assert set(pays.values()) <= {whole, least}


@pytest.mark.parametrize("flag", [Flag.UNAVAILABLE, Flag.INADMISSIBLE, Flag.ABSTAIN])
def test_a_slot_that_a_voter_does_not_answer_is_not_paid(flag):
    def mark(voter, proposer):
        return Mark(0, flag) if voter == FREELOADER and proposer in (PROPOSER, RIVAL) else GOOD

    ledger = settle(Play(mark=mark))
    assert get_credits(ledger, FREELOADER)[Reason.VOTE] == FLAT // 2
    assert get_credits(ledger, VOTER)[Reason.VOTE] == FLAT


def test_a_refusal_that_the_verdict_confirms_is_paid_as_a_score_is():
    ledger = settle(Play(mark=against(PROPOSER, Mark(0, Flag.UNAVAILABLE), by=[RIVAL, VOTER])))
    assert Verdict.UNAVAILABLE in [judged.verdict for judged in get_events(ledger, Judged)]
    assert [get_credits(ledger, node)[Reason.VOTE] for node in NODES] == [FLAT] * 5


def test_an_old_update_sent_again_earns_nothing_and_costs_nothing():
    ledger = settle(Play(stale=[RIVAL], originals={RIVAL: PROPOSER}))
    assert Reason.PROPOSAL not in get_credits(ledger, RIVAL)
    assert get_losses(ledger, RIVAL) == {}
    pays = {get_credits(ledger, node)[Reason.PROPOSAL] for node in (PROPOSER, VOTER)}
    assert len(pays) == 1


def test_the_last_merges_are_kept_by_what_they_merged_and_into_what():
    ledger = make_ledger(rounds=KEPT_MERGES + 5)
    states = [make_digest(f"state {number}") for number in range(KEPT_MERGES + 2)]
    for digest in states:
        mark = against(RIVAL, Mark(-500) if digest == states[-1] else GOOD)
        play_round(ledger, Play(mark=mark, digest=lambda *_, digest=digest: digest))
    assert [each.base for each in ledger.state.merged] == states[1:-1]
    assert [len(each.proposals) for each in ledger.state.merged] == [5] * (KEPT_MERGES - 1) + [4]
    last, ended = ledger.state.merged[-1], ledger.state.ended
    whose = {ended.proposers[slot].node: proposal for slot, proposal in ended.proposals.items()}
    assert dict(zip(last.nodes, last.proposals, strict=True)) == {n: p for n, p in whose.items() if n != RIVAL}


def test_a_round_that_moves_nothing_leaves_the_last_merges():
    ledger = play_round(make_ledger(rounds=9))
    kept = ledger.state.merged
    play_round(ledger, Play(absent={Act.BALLOT: NODES}))
    assert get_outcome(ledger) == Outcome.VOID
    assert ledger.state.merged == kept
