from dataclasses import replace

import pytest

from openflock.protocol.ballot import Mark
from openflock.protocol.calls import (
    Advance,
    Call,
    Cancel,
    Claim,
    Credited,
    Fund,
    Join,
    Leave,
    Settled,
    Slashed,
    TopUp,
)
from openflock.protocol.replay import Divergence, Replica
from openflock.protocol.types import Act, Flag, Outcome, Phase, Revert, commit_phase

from ..protocol.helpers import STAKE, Play, advance, get_actors, make_commit, make_opening, play_phase, play_round
from .ledgers import CREATOR, KINDS, NODES, OUTSIDER, Desk, needs_anvil

CULPRIT = NODES[0]
EXACT = KINDS[:2]  # ledgers whose clock stands still between calls; a node's own runs with the wall


@pytest.fixture(params=KINDS)
def desk(request):
    return Desk(request.param)


def list_items(desk):
    return [entry.item for entry in desk.read(0)]


def test_the_genesis_is_what_the_task_was_created_with(desk):
    genesis = desk.get_genesis()
    assert genesis.rules == desk.rules
    assert genesis.creator == CREATOR
    assert desk.clock.get_time() - genesis.time < desk.rules.gather
    assert desk.get_genesis() == genesis


def test_a_new_ledger_is_empty(desk):
    assert list(desk.read(0)) == []
    assert list(desk.read(5)) == []


def test_a_call_shows_in_the_log_followed_by_its_events(desk):
    calls = [Fund(CREATOR, 10), Join(NODES[0], 1, STAKE), TopUp(NODES[0], 7)]
    for call in calls:
        desk.submit(call)
    assert list_items(desk) == calls
    desk.submit(Cancel(CREATOR))
    call, *events = list_items(desk)[3:]
    assert call == Cancel(CREATOR)
    assert [type(event).__name__ for event in events] == ["Credited", "Entered"]
    desk.submit(Claim(OUTSIDER, CREATOR))
    assert [type(item).__name__ for item in list_items(desk)[-2:]] == ["Claim", "Sent"]


def test_time_and_block_never_run_backwards(desk):
    log = play_round(desk.gather()).read(0)
    assert [entry.time for entry in log] == sorted(entry.time for entry in log)
    assert [entry.block for entry in log] == sorted(entry.block for entry in log)


REFUSED = {
    "stakes: no such domain": Join(NODES[0], 3, STAKE),
    "stakes: less than the minimum": Join(NODES[0], 0, STAKE - 1),
    "stakes: only the creator cancels": Cancel(OUTSIDER),
    "stakes: amount out of range": Fund(CREATOR, 0),
    "stakes: nothing to claim": Claim(CREATOR, CREATOR),
    "rounds: too early": Advance(OUTSIDER),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_refused_call_says_why_and_leaves_no_entry(kind):
    desk = Desk(kind)
    desk.submit(Fund(CREATOR, 10))
    before = list(desk.read(0))
    for reason, call in REFUSED.items():
        with pytest.raises(Revert) as caught:
            desk.submit(call)
        assert str(caught.value) == reason
    assert list(desk.read(0)) == before
    desk.submit(Join(NODES[0], 0, STAKE))
    assert list_items(desk)[-1] == Join(NODES[0], 0, STAKE)


def test_what_was_read_never_changes_and_a_later_read_goes_on(desk):
    desk.gather(NODES[:2])
    seen = list(desk.read(0))
    copy = [replace(entry) for entry in seen]
    desk.submit(TopUp(NODES[0], 5))
    assert next(iter(desk.read(len(seen)))).item == TopUp(NODES[0], 5)
    assert list(desk.read(0))[: len(seen)] == seen == copy
    assert list(desk.read(1))[: len(seen) - 1] == seen[1:]


def test_who_changes_a_list_that_was_read_changes_no_ledger(desk):
    desk.submit(Fund(CREATOR, 10))
    read = desk.read(0)
    if isinstance(read, list):
        read.clear()
    assert list_items(desk) == [Fund(CREATOR, 10)]


def test_a_replica_of_the_log_is_the_state_of_the_task(desk):
    play_round(desk.gather())
    whole = Replica(desk.get_genesis())
    whole.apply(desk.read(0))
    assert whole.state == desk.state
    assert whole.state.phase == Phase.GATHER
    if hasattr(desk.ledger, "state"):
        assert whole.state == desk.ledger.state


def test_a_log_from_another_task_diverges(desk):
    play_round(desk.gather(), until=Phase.PUBLISH)
    log = list(desk.read(0))
    # A second more than this log took: on a chain of real time blocks may be late.
    took = next(entry.time for entry in log if isinstance(entry.item, Advance)) - log[0].time
    longer = replace(desk.rules, gather=max(desk.rules.gather, took) + 1)
    with pytest.raises(Divergence):
        Replica(replace(desk.get_genesis(), rules=longer)).apply(log)


# --- The clock -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("desk", EXACT, indirect=True)
def test_a_call_happens_at_the_time_that_the_clock_shows(desk):
    desk.submit(Fund(CREATOR, 9))  # the first deposit on a chain takes a block more, to allow it
    for step in (1, 2, 3):
        shown = desk.clock.get_time()
        desk.submit(Fund(CREATOR, step))
        assert desk.read(0)[-1].time == shown
        desk.wait_until(shown + 10 * step)


@pytest.mark.parametrize("ahead", [0, 1, 2, 50])
def test_waiting_reaches_the_time_and_mines_a_block(desk, ahead):
    desk.submit(Fund(CREATOR, 1))
    block, then = desk.read(0)[-1].block, desk.clock.get_time() + ahead
    desk.wait_until(then)
    assert desk.clock.get_time() >= then
    desk.submit(Fund(CREATOR, 1))
    last = desk.read(0)[-1]
    assert last.time >= then
    assert last.block >= block + 2


def test_waiting_for_the_past_still_mines_a_block(desk):
    desk.gather(NODES[:2]).submit(Leave(NODES[0]))
    block = desk.read(0)[-1].block
    desk.wait_until(0)
    desk.submit(Leave(NODES[1]))
    assert desk.read(0)[-1].block == block + 2


@pytest.mark.parametrize("desk", EXACT, indirect=True)
def test_a_deadline_is_in_time_to_the_second_and_not_one_later(desk):
    desk.gather(NODES[:3])
    deadline = desk.state.deadline
    desk.wait_until(deadline)
    desk.submit(TopUp(NODES[0], 1))
    assert desk.read(0)[-1].time == deadline
    desk.submit(Advance(OUTSIDER))
    assert desk.state.phase == Phase.DRAW


def test_a_commitment_after_the_deadline_is_refused(desk):
    play_round(desk.gather(), until=Phase.PROPOSE)
    desk.wait_until(desk.state.deadline + 1)
    state = desk.state
    late = make_commit(state, Act.UPDATE, make_opening(state, Play(), Act.UPDATE, NODES[0]))
    with pytest.raises(Revert, match="rounds: the deadline has passed"):
        desk.submit(late)


# --- A whole round on all kinds ------------------------------------------------------------------------------

PLAYS = {
    "all agree": (Play(), Outcome.MERGED),
    "one is slashed as inadmissible": (
        Play(mark=lambda voter, proposer: Mark(100, Flag.INADMISSIBLE if proposer == CULPRIT else Flag(0))),
        Outcome.MERGED,
    ),
    "one hides its ballot and one never attests": (
        Play(hiding={Act.BALLOT: [NODES[1]]}, absent={Act.ATTESTATION: [NODES[2]]}),
        Outcome.MERGED,
    ),
    "an outsider shows a backdoor": (
        Play(
            mark=lambda voter, proposer: Mark(100, Flag.SUSPECT if proposer == CULPRIT else Flag(0)),
            witnesses={OUTSIDER: (CULPRIT, 100)},
        ),
        Outcome.MERGED,
    ),
    "nobody votes": (Play(absent={Act.BALLOT: NODES}), Outcome.VOID),
}
WORLDLY = {"deadline", "blockhash", "seed", "target", "commitment"}  # what depends on the chain and its moments


def strip(item):
    """An item without what each chain gives another value."""
    return type(item).__name__, {name: value for name, value in vars(item).items() if name not in WORLDLY}


@pytest.mark.parametrize("name", PLAYS)
def test_a_round_gives_the_same_events_on_every_kind(name):
    play, outcome = PLAYS[name]
    # No pay by agreement: whom a voter is compared with follows from the seed, and so from the chain.
    logs = {kind: list_items(play_round(Desk(kind, agreement_share=0).gather(), play)) for kind in EXACT}
    stripped = {kind: [strip(item) for item in items if not isinstance(item, Advance)] for kind, items in logs.items()}
    settled = [item for item in logs["spec"] if isinstance(item, Settled)]
    assert [item.outcome for item in settled] == [outcome]
    for kind, items in stripped.items():
        assert items == stripped["spec"], kind
    if name != "all agree" and outcome == Outcome.MERGED:
        assert any(isinstance(item, Slashed) for item in logs["evm"])


@needs_anvil[0]
@needs_anvil[1]
def test_a_round_whose_every_call_is_taken_back_once_gives_the_same_events():
    play, outcome = PLAYS["one hides its ballot and one never attests"]
    plain, shaken = (
        list_items(play_round(Desk(kind, agreement_share=0).gather(), play)) for kind in ("spec", "shaken")
    )
    assert [item.outcome for item in shaken if isinstance(item, Settled)] == [outcome]
    stripped = [[strip(item) for item in items if not isinstance(item, Advance)] for items in (plain, shaken)]
    assert stripped[0] == stripped[1]


def test_bonds_stakes_and_claims_move_tokens_on_a_chain():
    desk = Desk("evm").gather()
    token, task = desk.ledger._token.functions, desk.ledger._task.address
    held = token.balanceOf(task).call()
    joined = sum(item.amount for item in list_items(desk) if isinstance(item, Call))
    assert held == joined
    play_round(desk)
    owed = dict(desk.state.payable)
    assert owed
    for account in owed:
        desk.submit(Claim(OUTSIDER, account))
    credited = sum(item.amount for item in list_items(desk) if isinstance(item, Credited))
    assert held - token.balanceOf(task).call() == credited == sum(owed.values())


def test_two_readers_of_one_chain_read_the_same_log():
    from openflock.edge.evm_ledger import EvmLedger

    desk = Desk("evm").gather()
    early = EvmLedger(desk.ledger._web3, desk.ledger._task.address, {})
    pieces = list(early.read(0))
    while desk.state.phase != commit_phase(Act.BALLOT):
        play_phase(desk, Play())
        advance(desk)
        pieces += early.read(len(pieces))
    late = EvmLedger(desk.ledger._web3, desk.ledger._task.address, {})
    assert pieces == list(late.read(0)) == list(desk.read(0))
    assert get_actors(desk.state, Play(), Act.BALLOT) == NODES
