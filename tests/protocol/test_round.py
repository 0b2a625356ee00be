"""The when/then table, row by row, and how phases begin and end."""

import pytest

from openflock.protocol.ballot import Mark, compute_ballot
from openflock.protocol.calls import Advance, Call, Drawn, Entered, Join, Reveal, Seeded, Settled
from openflock.protocol.types import Act, Fault, Flag, Outcome, Phase, Reason, Revert, Verdict

from .helpers import (
    ACCUSER,
    CREATOR,
    NODES,
    OUTSIDER,
    POOL,
    PROPOSER,
    RIVAL,
    SKEPTIC,
    STAKE,
    VOTER,
    Play,
    advance,
    get_credits,
    get_events,
    get_losses,
    get_outcome,
    get_phases,
    get_verdict,
    make_address,
    make_commit,
    make_digest,
    make_ledger,
    only,
    play_phase,
    play_round,
)

OLD, NEW = make_digest("genesis"), make_digest("next state")


def refuses(ledger, call, reason):
    before = ledger.state
    with pytest.raises(Revert, match=reason):
        ledger.submit(call)
    assert ledger.state == before


# --- A round -------------------------------------------------------------------------------------------------


def test_a_round_goes_through_its_acts_and_moves_the_global_state():
    ledger = play_round(make_ledger(), Play(witnesses={ACCUSER: (PROPOSER, 100)}))
    assert get_phases(ledger) == [*range(Phase.DRAW, Phase.REATTEST), Phase.GATHER]
    assert ledger.state.digest == NEW
    assert ledger.state.round.number == 2


def test_a_task_ends_after_its_rounds_and_returns_what_is_left():
    ledger = make_ledger()
    for _ in range(3):
        play_round(ledger)
    assert ledger.state.phase == Phase.FINISHED
    assert sum(get_credits(ledger, CREATOR).values()) == POOL - sum(
        event.spent for event in get_events(ledger, Settled)
    )
    refuses(ledger, Advance(OUTSIDER), "rounds: the task is over")


def test_an_unknown_call_is_refused():
    refuses(make_ledger(), Call(OUTSIDER), "rounds: no such call")


@pytest.mark.parametrize(
    "call", [Join(VOTER, -1, STAKE), Join(VOTER, 0, 2**256), Join(VOTER.upper(), 0, STAKE), Join("voter", 0, STAKE)]
)
def test_a_call_that_no_chain_could_carry_is_refused(call):
    refuses(make_ledger(nodes=()), call, "rounds: malformed call")


def test_a_later_round_starts_empty():
    ledger = play_round(play_round(make_ledger()), until=Phase.PROPOSE)
    assert ledger.state.round.commitments == ledger.state.round.ballots == ledger.state.round.charged == {}
    assert get_events(ledger, Seeded)[0].seed != get_events(ledger, Seeded)[1].seed


# --- Deadlines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in (Phase.DRAW, Phase.FINISHED)])
def test_anyone_moves_on_after_the_deadline_and_not_at_it(phase):
    play = Play(witnesses={ACCUSER: (PROPOSER, 100)}, digest=quarrel(Act.ATTESTATION).digest)
    ledger = play_round(make_ledger(), play, until=phase)
    ledger.wait_until(ledger.state.deadline)
    refuses(ledger, Advance(OUTSIDER), "rounds: too early")
    ledger.submit(Advance(OUTSIDER))
    assert ledger.state.phase != phase or ledger.state.round.tries


@pytest.mark.parametrize(
    "phase", [Phase.PROPOSE, Phase.PUBLISH, Phase.EXPOSE, Phase.VOTE, Phase.REVEAL, Phase.ATTEST, Phase.CONFIRM]
)
def test_a_phase_that_all_completed_ends_early(phase):
    play = Play(witnesses={ACCUSER: (PROPOSER, 100)})
    ledger = play_round(make_ledger(), play, until=phase)
    play_phase(ledger, play)
    assert ledger.get_time() < ledger.state.deadline
    ledger.submit(Advance(OUTSIDER))
    assert ledger.state.phase != phase


def test_a_phase_that_one_has_yet_to_complete_does_not_end_early():
    ledger = play_round(make_ledger(), until=Phase.PROPOSE)
    play_phase(ledger, Play(absent={Act.UPDATE: [RIVAL]}))
    refuses(ledger, Advance(OUTSIDER), "rounds: too early")


def test_a_probe_stays_open_for_whoever_may_still_come():
    play = Play(witnesses=dict.fromkeys(NODES, (PROPOSER, 100)))
    ledger = play_round(make_ledger(), play, until=Phase.PROBE)
    play_phase(ledger, play)
    refuses(ledger, Advance(OUTSIDER), "rounds: too early")


def test_an_act_that_nobody_committed_to_is_skipped():
    phases = get_phases(play_round(make_ledger()))
    assert phases[phases.index(Phase.PROBE) + 1] == Phase.VOTE
    phases = get_phases(play_round(make_ledger(), Play(absent={Act.ATTESTATION: NODES})))
    assert phases[phases.index(Phase.ATTEST) + 1] == Phase.REATTEST


# --- The draw ------------------------------------------------------------------------------------------------


def test_the_seed_s_block_is_fixed_when_the_snapshot_closes():
    ledger = play_round(make_ledger(), until=Phase.DRAW)
    closed = ledger.read(0)[-1]
    assert closed.item == Entered(1, Phase.DRAW, closed.block + 2)
    refuses(ledger, Advance(OUTSIDER), "rounds: no seed block yet")
    refuses(ledger, Advance(OUTSIDER), "rounds: no seed block yet")
    ledger.submit(Advance(OUTSIDER))
    assert get_events(ledger, Seeded)[0].target == closed.block + 2


@pytest.mark.parametrize(("waited", "missed"), [(256, 0), (257, 1), (512, 1), (513, 2)])
def test_a_seed_missed_for_256_blocks_is_followed_by_another_as_fixed(waited, missed):
    ledger = play_round(make_ledger(), until=Phase.DRAW)
    first = ledger.state.round.target
    for _ in range(first + waited - ledger.read(0)[-1].block - 1):
        ledger.wait_until(0)
    ledger.submit(Advance(OUTSIDER))
    assert ledger.read(0)[-1].block == first + waited
    assert get_events(ledger, Seeded)[0].target == first + 256 * missed


def test_after_some_missed_seeds_the_round_is_idle():
    ledger = play_round(make_ledger(), until=Phase.DRAW)
    for _ in range(3 * 256 + 2):
        ledger.wait_until(0)
    ledger.submit(Advance(OUTSIDER))
    assert get_outcome(ledger) == Outcome.IDLE
    assert ledger.state.pool == POOL


def test_too_few_nodes_idle_the_round_after_some_tries():
    ledger = make_ledger(nodes=NODES[:2])
    for _ in range(3):
        assert get_events(ledger, Settled) == []
        advance(ledger)
    assert get_outcome(ledger) == Outcome.IDLE
    ledger.submit(Join(VOTER, 0, STAKE))
    assert get_outcome(play_round(ledger)) == Outcome.MERGED


def test_a_large_task_draws_seats_with_replacement():
    nodes = [make_address(f"node {i}") for i in range(12)]
    ledger = play_round(make_ledger(nodes), until=Phase.PROPOSE)
    (drawn,) = get_events(ledger, Drawn)
    assert sum(drawn.proposer_weights) == sum(drawn.voter_weights) == 8
    assert set(drawn.proposers) | set(drawn.voters) <= set(nodes)
    assert not ledger.state.round.everybody


def test_the_budget_is_reserved_at_the_draw():
    ledger = play_round(make_ledger(), until=Phase.PROPOSE)
    assert ledger.state.round.budget == POOL // 3
    assert ledger.state.pool == POOL - POOL // 3


# --- When nobody acts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("play", [Play(absent={Act.UPDATE: NODES}), Play(hiding={Act.UPDATE: NODES})])
def test_when_nobody_publishes_the_round_is_over_and_the_old_state_stays(play):
    ledger = play_round(make_ledger(), play)
    assert get_outcome(ledger) == Outcome.EMPTY
    assert ledger.state.digest == OLD
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: POOL // 3}


@pytest.mark.parametrize("how", ["absent", "hiding"])
@pytest.mark.parametrize(("silent", "outcome"), [(1, Outcome.MERGED), (2, Outcome.VOID), (5, Outcome.VOID)])
def test_ballots_under_two_thirds_of_the_weight_void_the_round(how, silent, outcome):
    ledger = play_round(make_ledger(), Play(**{how: {Act.BALLOT: NODES[5 - silent :]}}))
    assert get_outcome(ledger) == outcome


def test_a_void_round_costs_no_more_than_the_no_show_fees():
    bad = Play(mark=lambda voter, proposer: Mark(0, Flag.INADMISSIBLE), absent={Act.BALLOT: NODES[3:]})
    ledger = play_round(make_ledger(), bad)
    assert ledger.state.digest == OLD
    assert [get_losses(ledger, node) for node in NODES] == [{}] * 3 + [{Fault.NO_SHOW: 10}] * 2
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: POOL // 3}


def test_too_few_distinct_voters_void_the_round():
    ledger = play_round(make_ledger(min_voters=5, min_nodes=5), Play(absent={Act.BALLOT: [VOTER]}))
    assert get_outcome(ledger) == Outcome.VOID


def test_a_round_with_nothing_to_merge_leaves_the_state_and_pays_voters():
    ledger = play_round(make_ledger(), Play(mark=lambda voter, proposer: Mark(-2048)))
    assert get_outcome(ledger) == Outcome.UNCHANGED
    assert ledger.state.digest == OLD
    assert get_events(ledger, Settled)[-1].spent > 0


# --- Attestation, appeal, veto -------------------------------------------------------------------------------


def quarrel(*acts):
    """In these acts everybody attests a digest of its own."""
    return Play(digest=lambda node, act: make_digest(node) if act in acts else NEW)


def test_no_digest_with_two_thirds_is_put_to_all_stake():
    ledger = play_round(make_ledger(), quarrel(Act.ATTESTATION))
    assert Phase.RECONFIRM in get_phases(ledger)
    assert get_outcome(ledger) == Outcome.MERGED
    assert set(ledger.state.finals) == {1}
    assert ledger.state.digest == NEW


@pytest.mark.parametrize(
    "play",
    [
        quarrel(Act.ATTESTATION, Act.APPEAL),
        Play(absent={Act.ATTESTATION: NODES, Act.APPEAL: NODES}),
        Play(absent={Act.ATTESTATION: NODES}, hiding={Act.APPEAL: NODES}),
    ],
)
def test_an_appeal_without_two_thirds_voids_the_round(play):
    ledger = play_round(make_ledger(), play)
    assert get_outcome(ledger) == Outcome.VOID
    assert ledger.state.digest == OLD
    assert ledger.state.finals == {}
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: POOL // 3}


def test_nobody_outside_the_committee_attests_but_in_an_appeal():
    nodes = [make_address(f"node {i}") for i in range(12)]
    ledger = play_round(make_ledger(nodes), Play(absent={Act.ATTESTATION: nodes}), until=Phase.REATTEST)
    play_phase(ledger, Play())
    assert len(ledger.state.round.committed) == 3
    assert ledger.state.round.committed[Act.APPEAL] == 12 > len(ledger.state.round.voters)


@pytest.mark.parametrize(("vetoers", "outcome"), [(2, Outcome.MERGED), (3, Outcome.VETOED)])
def test_vetoes_by_half_the_weight_keep_the_old_state(vetoers, outcome):
    ledger = play_round(make_ledger(), Play(vetoers=NODES[:vetoers]))
    assert get_outcome(ledger) == outcome
    assert ledger.state.digest == (OLD if outcome == Outcome.VETOED else NEW)


def test_an_appeal_can_be_vetoed_too_and_counts_its_vetoes_anew():
    play = Play(digest=quarrel(Act.ATTESTATION).digest, vetoers=NODES[:2])
    assert get_outcome(play_round(make_ledger(), play)) == Outcome.MERGED
    ledger = play_round(make_ledger(), Play(absent={Act.ATTESTATION: only(VOTER)}, vetoers=NODES[:3]))
    assert get_outcome(ledger) == Outcome.VETOED
    assert ledger.state.finals == {}


# --- Verdicts ------------------------------------------------------------------------------------------------


def test_a_proposer_s_word_on_its_own_update_is_ignored():
    def mark(voter, proposer):
        return Mark(200 if voter == proposer else -2048)

    ledger = play_round(make_ledger(), Play(mark=mark), until=Phase.REVEAL)
    play_phase(ledger, Play(mark=mark))
    advance(ledger)
    assert ledger.state.phase == Phase.GATHER
    assert get_outcome(ledger) == Outcome.UNCHANGED


def test_a_slot_without_a_proposal_is_not_judged():
    ledger = play_round(make_ledger(), Play(absent={Act.UPDATE: [SKEPTIC]}), until=Phase.ATTEST)
    assert get_verdict(ledger, SKEPTIC) == Verdict.NONE
    assert get_verdict(ledger, PROPOSER) == Verdict.PAID


def test_bits_beyond_the_proposals_mean_nothing():
    ledgers = [play_round(make_ledger(), until=Phase.VOTE) for _ in range(2)]
    for ledger, noise in zip(ledgers, (0, 2**256 - 2**80), strict=True):
        word = compute_ballot([Mark(100)] * 5) | noise
        play_words(ledger, word, noise)
    assert ledgers[0].state.round.judgements == ledgers[1].state.round.judgements


def play_words(ledger, word, sealed):
    openings = [Reveal(node, word, sealed, make_digest(node)) for node in NODES]
    for opening in openings:
        ledger.submit(make_commit(ledger.state, Act.BALLOT, opening))
    advance(ledger)
    for opening in openings:
        ledger.submit(opening)
    advance(ledger)
