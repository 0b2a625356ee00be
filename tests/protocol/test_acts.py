from dataclasses import replace

import pytest

from openflock.protocol.calls import Commit, Confirm, Credited, Expose, Publish, Reveal
from openflock.protocol.commitment import hash_outcome
from openflock.protocol.types import MAX_STAKE, ZERO_DIGEST, Act, Attestation, Attested, Phase, Proposal, Reason, Revert

from .helpers import (
    ACCUSER,
    FREELOADER,
    NODES,
    OUTSIDER,
    PROPOSER,
    RIVAL,
    STAKE,
    VOTER,
    Play,
    advance,
    get_events,
    make_commit,
    make_digest,
    make_ledger,
    make_opening,
    play_phase,
    play_round,
)

HIDDEN = make_digest("something")


def refuses(ledger, call, reason):
    before = ledger.state
    with pytest.raises(Revert, match=reason):
        ledger.submit(call)
    assert ledger.state == before


def reach(phase, play=None, **overrides):
    return play_round(make_ledger(**overrides), play, until=phase)


# --- Committing ----------------------------------------------------------------------------------------------


def test_each_act_is_committed_in_its_own_phase():
    ledger = reach(Phase.PROPOSE)
    refuses(ledger, Commit(PROPOSER, Act.BALLOT, HIDDEN, 0), "rounds: another act's phase")
    refuses(make_ledger(), Commit(PROPOSER, Act.UPDATE, HIDDEN, 0), "rounds: nothing to commit now")
    refuses(reach(Phase.PUBLISH), Commit(PROPOSER, Act.UPDATE, HIDDEN, 0), "rounds: nothing to commit now")


def test_a_commitment_is_never_replaced():
    ledger = reach(Phase.PROPOSE)
    ledger.submit(Commit(PROPOSER, Act.UPDATE, HIDDEN, 0))
    refuses(ledger, Commit(PROPOSER, Act.UPDATE, make_digest("better"), 0), "commitments: already committed")


def test_an_opened_commitment_is_not_made_again():
    ledger = reach(Phase.PUBLISH)
    opening = make_opening(ledger.state, Play(), Act.UPDATE, PROPOSER)
    ledger.submit(opening)
    refuses(ledger, opening, "commitments: nothing committed")


def test_nothing_cannot_be_committed():
    refuses(reach(Phase.PROPOSE), Commit(PROPOSER, Act.UPDATE, bytes(32), 0), "commitments: empty")


@pytest.mark.parametrize(
    ("phase", "act", "reason"),
    [
        (Phase.PROPOSE, Act.UPDATE, "rounds: not drawn as a proposer"),
        (Phase.VOTE, Act.BALLOT, "rounds: not drawn as a voter"),
        (Phase.ATTEST, Act.ATTESTATION, "rounds: not drawn as a voter"),
        (Phase.REATTEST, Act.APPEAL, "rounds: no stake to attest with"),
    ],
)
def test_only_who_was_drawn_acts(phase, act, reason):
    play = Play(absent={Act.ATTESTATION: NODES}) if phase == Phase.REATTEST else None
    refuses(reach(phase, play), Commit(OUTSIDER, act, HIDDEN, 0), reason)


def test_only_witnesses_carry_a_bond():
    refuses(reach(Phase.PROPOSE), Commit(PROPOSER, Act.UPDATE, HIDDEN, 1), "rounds: only witnesses carry a bond")
    ledger = reach(Phase.PROBE)
    refuses(ledger, Commit(ACCUSER, Act.WITNESS, HIDDEN, 99), "rounds: less than the witness bond")
    refuses(ledger, Commit(ACCUSER, Act.WITNESS, HIDDEN, MAX_STAKE + 1), "rounds: bond out of range")
    ledger.submit(Commit(ACCUSER, Act.WITNESS, HIDDEN, 100))
    assert ledger.state.round.held == 100


@pytest.mark.parametrize(("late", "accepted"), [(-1, True), (0, True), (1, False)])
def test_a_commitment_at_the_deadline_is_in_time(late, accepted):
    ledger = reach(Phase.PROPOSE)
    ledger.wait_until(ledger.state.deadline + late)
    call = Commit(PROPOSER, Act.UPDATE, HIDDEN, 0)
    if accepted:
        ledger.submit(call)
    else:
        refuses(ledger, call, "rounds: the deadline has passed")


# --- Opening -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "accepted"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize(
    ("phase", "act"),
    [
        (Phase.PUBLISH, Act.UPDATE),
        (Phase.EXPOSE, Act.WITNESS),
        (Phase.REVEAL, Act.BALLOT),
        (Phase.CONFIRM, Act.ATTESTATION),
    ],
)
def test_an_opening_at_the_deadline_is_in_time(phase, act, late, accepted):
    play = Play(witnesses={VOTER: (PROPOSER, 100)})
    ledger = reach(phase, play)
    ledger.wait_until(ledger.state.deadline + late)
    opening = make_opening(ledger.state, play, act, VOTER)
    if accepted:
        ledger.submit(opening)
    else:
        refuses(ledger, opening, "rounds: the deadline has passed")


def test_only_what_was_committed_opens():
    ledger = reach(Phase.PUBLISH)
    opening = make_opening(ledger.state, Play(), Act.UPDATE, PROPOSER)
    for change in ({"digest": HIDDEN}, {"size": 1001}, {"salt": HIDDEN}, {"sender": RIVAL}):
        refuses(ledger, replace(opening, **change), "commitments: does not open")
    refuses(ledger, replace(opening, sender=OUTSIDER), "commitments: nothing committed")
    ledger.submit(opening)
    assert ledger.state.round.proposals == {0: Proposal(opening.digest, 1000)}


def test_every_opening_belongs_to_its_phase():
    ledger = reach(Phase.PUBLISH)
    refuses(ledger, Reveal(PROPOSER, 0, 0, HIDDEN), "rounds: another act's phase")
    refuses(ledger, Expose(PROPOSER, 0, HIDDEN, HIDDEN), "rounds: another act's phase")
    refuses(ledger, Confirm(PROPOSER, HIDDEN, 0, False, HIDDEN), "rounds: another act's phase")
    refuses(make_ledger(), Publish(PROPOSER, HIDDEN, 1, HIDDEN), "rounds: nothing to open now")


def test_every_opened_salt_stirs_the_next_seed_in_any_order():
    forwards, backwards = reach(Phase.PUBLISH), reach(Phase.PUBLISH)
    openings = [make_opening(forwards.state, Play(), Act.UPDATE, node) for node in NODES]
    for opening, last in zip(openings, reversed(openings), strict=True):
        salts = forwards.state.salts
        forwards.submit(opening)
        backwards.submit(last)
        assert forwards.state.salts != salts
    assert forwards.state.salts == backwards.state.salts != bytes(32)


# --- Witnesses -----------------------------------------------------------------------------------------------


def test_only_the_witnesses_with_the_highest_bonds_stand_and_the_others_are_refunded():
    bonds = dict(zip(NODES, (100, 300, 200, 300, 150), strict=True))
    play = Play(witnesses={node: (PROPOSER, bond) for node, bond in bonds.items()})
    ledger = reach(Phase.VOTE, play)
    standing = ledger.state.round.witnesses[0]
    assert {witness.account for witness in standing} == {NODES[1], NODES[3]}
    refunded = {event.account: event.amount for event in get_events(ledger, Credited)}
    assert refunded == {node: bonds[node] for node in (NODES[0], NODES[2], NODES[4])}
    assert ledger.state.round.held == 0


def test_which_witnesses_stand_does_not_depend_on_the_order_of_opening():
    play = Play(witnesses=dict.fromkeys(NODES, (PROPOSER, 100)))
    ledgers = [reach(Phase.EXPOSE, play) for _ in range(2)]
    for ledger, order in zip(ledgers, (NODES, NODES[::-1]), strict=True):
        for node in order:
            ledger.submit(make_opening(ledger.state, play, Act.WITNESS, node))
    assert ledgers[0].state.round.witnesses == ledgers[1].state.round.witnesses
    assert ledgers[0].state.payable == ledgers[1].state.payable


def test_a_witness_accuses_a_proposal_that_is_there():
    play = Play(absent={Act.UPDATE: [RIVAL]}, witnesses={ACCUSER: (RIVAL, 100)})
    ledger = reach(Phase.EXPOSE, play)
    refuses(ledger, make_opening(ledger.state, play, Act.WITNESS, ACCUSER), "rounds: no proposal in this slot")


# --- Attestations --------------------------------------------------------------------------------------------


def test_two_thirds_of_the_weight_for_one_digest_agree():
    ledger = reach(Phase.CONFIRM)
    for count, node in enumerate(NODES, 1):
        ledger.submit(make_opening(ledger.state, Play(), Act.ATTESTATION, node))
        assert (ledger.state.round.agreed is not None) == (count >= 4)
    assert ledger.state.nodes[VOTER].attested == Attested(1, hash_outcome(ledger.state.round.agreed))


def test_the_same_digest_with_other_duplicates_is_another_answer():
    ledger = reach(Phase.ATTEST)
    for node in NODES:
        originals = {RIVAL: PROPOSER} if node in NODES[:2] else {}
        play = Play(originals=originals)
        ledger.submit(
            make_commit(ledger.state, Act.ATTESTATION, make_opening(ledger.state, play, Act.ATTESTATION, node))
        )
    advance(ledger)
    for node in NODES:
        originals = {RIVAL: PROPOSER} if node in NODES[:2] else {}
        ledger.submit(make_opening(ledger.state, Play(originals=originals), Act.ATTESTATION, node))
    assert ledger.state.round.agreed is None


def test_no_digest_is_no_attestation():
    play = Play(digest=lambda node, act: ZERO_DIGEST)
    ledger = reach(Phase.CONFIRM, play)
    refuses(ledger, make_opening(ledger.state, play, Act.ATTESTATION, VOTER), "rounds: empty digest")


def test_an_appeal_weighs_stake():
    play = Play(absent={Act.ATTESTATION: NODES})
    ledger = reach(Phase.RECONFIRM, play)
    play_phase(ledger, play)
    assert list(ledger.state.round.tally.values()) == [5 * STAKE]
    assert isinstance(ledger.state.round.agreed, Attestation)


def test_a_witness_bond_opened_is_no_longer_held():
    play = Play(witnesses={ACCUSER: (PROPOSER, 150), FREELOADER: (RIVAL, 100)}, hiding={Act.WITNESS: [FREELOADER]})
    ledger = reach(Phase.VOTE, play)
    assert ledger.state.round.held == 100
    assert Reason.REFUND not in {event.reason for event in get_events(ledger, Credited)}
