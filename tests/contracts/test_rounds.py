"""Whole rounds, on the contract and the specification at once; a Pair compares every event, reason and account."""

from random import Random

import pytest

from openflock.protocol.ballot import Mark
from openflock.protocol.calls import Advance, Cancel, Claim, Fund, Join, Leave, Resolve, Settled, TopUp, Withdraw
from openflock.protocol.types import BURN_ADDRESS, MAX_POOL, MAX_STAKE, Act, Flag, Outcome, Phase, Revert

from ..protocol.helpers import (
    ACCUSER,
    CREATOR,
    NODES,
    OUTSIDER,
    POOL,
    PROPOSER,
    RIVAL,
    STAKE,
    VOTER,
    Play,
    against,
    get_events,
    get_outcome,
    get_phases,
    make_address,
    make_digest,
    make_genesis,
    only,
    play_round,
)
from .pair import Pair

DIVIDED = {node: make_digest(f"digest of {node}") for node in NODES}


def make_pair(nodes=NODES, **overrides) -> Pair:
    """A funded task that the given nodes joined."""
    pair = Pair(make_genesis(**overrides))
    pair.submit(Fund(CREATOR, POOL))
    for position, node in enumerate(nodes):
        pair.submit(Join(node, position % 2, STAKE + position))
    return pair


def bad(flag: Flag, by=NODES):
    return against(PROPOSER, Mark(100, flag), by)


PLAYS = {
    "all agree": (Play(), Outcome.MERGED),
    "nobody proposes": (Play(absent={Act.UPDATE: NODES}), Outcome.EMPTY),
    "nobody publishes": (Play(hiding={Act.UPDATE: NODES}), Outcome.EMPTY),
    "nobody votes": (Play(absent={Act.BALLOT: NODES}), Outcome.VOID),
    "one hides its ballot": (Play(hiding={Act.BALLOT: [VOTER]}), Outcome.MERGED),
    "few reveal": (Play(hiding={Act.BALLOT: only(VOTER, RIVAL)}), Outcome.VOID),
    "one is unavailable": (Play(mark=bad(Flag.UNAVAILABLE)), Outcome.MERGED),
    "one is inadmissible": (Play(mark=bad(Flag.INADMISSIBLE)), Outcome.MERGED),
    "one does harm": (Play(mark=against(PROPOSER, Mark(-400))), Outcome.MERGED),
    "all abstain": (Play(mark=lambda voter, proposer: Mark(0, Flag.ABSTAIN)), Outcome.UNCHANGED),
    "nothing helps": (Play(mark=lambda voter, proposer: Mark(0)), Outcome.MERGED),
    "opinions differ": (Play(mark=lambda voter, proposer: Mark(90 if voter < proposer else -90)), Outcome.MERGED),
    "a backdoor is shown": (
        Play(mark=bad(Flag.SUSPECT), witnesses={ACCUSER: (PROPOSER, 100), RIVAL: (PROPOSER, 300)}),
        Outcome.MERGED,
    ),
    "an accusation is false": (Play(witnesses={ACCUSER: (PROPOSER, 100)}), Outcome.MERGED),
    "an accusation stays open": (
        Play(mark=bad(Flag.SUSPECT, NODES[:2]), witnesses={ACCUSER: (PROPOSER, 100)}),
        Outcome.MERGED,
    ),
    "an accuser hides": (
        Play(witnesses={ACCUSER: (PROPOSER, 100)}, hiding={Act.WITNESS: [ACCUSER]}),
        Outcome.MERGED,
    ),
    "too many accuse": (
        Play(witnesses={node: (PROPOSER, 100 + 7 * (i % 2)) for i, node in enumerate((*NODES, ACCUSER))}),
        Outcome.MERGED,
    ),
    "updates are alike": (Play(originals={RIVAL: PROPOSER, VOTER: PROPOSER}), Outcome.MERGED),
    "all veto": (Play(vetoers=NODES), Outcome.VETOED),
    "the appeal agrees": (
        Play(digest=lambda node, act: DIVIDED[node] if act == Act.ATTESTATION else DIVIDED[RIVAL]),
        Outcome.MERGED,
    ),
    "the appeal convicts": (
        Play(digest=lambda node, act: DIVIDED[node] if act == Act.ATTESTATION or node == VOTER else DIVIDED[RIVAL]),
        Outcome.MERGED,
    ),
    "the appeal vetoes": (
        Play(absent={Act.ATTESTATION: only(VOTER)}, vetoers=NODES),
        Outcome.VETOED,
    ),
    "nobody attests": (Play(absent={Act.ATTESTATION: NODES, Act.APPEAL: NODES}), Outcome.VOID),
    "the appeal is divided": (Play(digest=lambda node, act: DIVIDED[node]), Outcome.VOID),
}
COMMITTEES = {"everybody": {}, "drawn": {"proposer_seats": 3, "voter_seats": 4}}


@pytest.mark.parametrize("name", PLAYS)
def test_a_round_ends_on_the_contract_as_in_the_specification(name):
    play, outcome = PLAYS[name]
    pair = make_pair()
    play_round(pair, play)
    pair.check()
    assert get_outcome(pair) == outcome
    play_round(pair)
    pair.check()


@pytest.mark.parametrize("name", [name for name in PLAYS if "accus" not in name and "backdoor" not in name])
def test_a_round_of_drawn_seats_ends_as_in_the_specification(name):
    pair = make_pair(rounds=2, **COMMITTEES["drawn"])
    for _ in range(2):
        play_round(pair, PLAYS[name][0])
        pair.check()
    assert pair.state.phase == Phase.FINISHED


def test_a_task_is_played_to_its_end_and_emptied():
    pair = make_pair(rounds=2)
    for _ in range(2):
        play_round(pair, Play(witnesses={ACCUSER: (PROPOSER, 100)}))
    for node in NODES:
        pair.submit(Leave(node))
    pair.pass_time(1000)
    for node in NODES:
        pair.submit(Withdraw(node))
    for account in list(pair.state.payable):
        pair.submit(Claim(OUTSIDER, account))
    assert pair.token.view("balanceOf", pair.task.address) == 0


def close_gathering(pair: Pair) -> Pair:
    pair.wait_until(pair.state.deadline + 1)
    pair.submit(Advance(OUTSIDER))
    assert pair.state.phase == Phase.DRAW
    return pair


def test_missed_seeds_leave_the_round_idle_in_the_end():
    pair = close_gathering(make_pair())
    pair.mine(800)
    pair.submit(Advance(OUTSIDER))
    assert get_outcome(pair) == Outcome.IDLE


@pytest.mark.parametrize("age", [1, 255, 256, 257, 600])
def test_a_seed_is_captured_at_every_age(age):
    pair = close_gathering(make_pair())
    pair.mine(pair.state.deadline + age - pair.get_block())
    pair.submit(Advance(OUTSIDER))
    assert get_phases(pair)[-1] == Phase.PROPOSE


@pytest.mark.parametrize("nodes", [16, 33, pytest.param(60, marks=pytest.mark.long)])
def test_large_committees_of_many_minds_end_as_in_the_specification(nodes):
    chance = Random(nodes)
    crowd = [make_address(f"node {i}") for i in range(nodes)]
    times = dict.fromkeys(("gather", "propose", "publish", "vote", "reveal", "attest", "confirm"), 500)
    seats = {"proposer_seats": 16, "voter_seats": 32, "domains": 4, "domain_quorum": 1000}
    pair = Pair(make_genesis(**times, **seats, unbonding=50_000), seed=bytes([nodes]))
    pair.submit(Fund(CREATOR, 10**9))
    for node in crowd:
        pair.submit(Join(node, chance.randrange(4), chance.randrange(STAKE, 5 * STAKE)))
    marks = {
        (voter, proposer): Mark(chance.randint(-60, 260), Flag(chance.choice([0] * 20 + [1, 2, 4, 8])))
        for voter in crowd
        for proposer in crowd
    }
    originals = {node: chance.choice(crowd[:3]) for node in crowd[3:8]}
    play = Play(
        mark=lambda voter, proposer: marks[voter, proposer],
        originals={} if len(crowd) > 16 else originals,
        absent={Act.BALLOT: crowd[:2], Act.ATTESTATION: crowd[4:6]},
        hiding={Act.UPDATE: crowd[2:3], Act.BALLOT: crowd[3:4]},
    )
    for _ in range(3):
        play_round(pair, play)
        pair.check()
    assert Outcome.MERGED in [event.outcome for event in get_events(pair, Settled)]


def test_the_largest_amounts_overflow_nothing():
    rules = {"min_stake": MAX_STAKE, "bond": MAX_STAKE, "witness_bond": MAX_STAKE, "full_benefit": 2047}
    pair = Pair(make_genesis(**rules, fee_cap=MAX_STAKE, hidden_ballot_fee=MAX_STAKE))
    pair.submit(Fund(CREATOR, MAX_POOL))
    for node in NODES:
        pair.submit(Join(node, 0, MAX_STAKE))
    play = Play(
        mark=lambda voter, proposer: Mark(2047, Flag.SUSPECT if proposer == PROPOSER else Flag(0)),
        witnesses=dict.fromkeys(NODES, (PROPOSER, MAX_STAKE)),
        absent={Act.ATTESTATION: [VOTER]},
    )
    play_round(pair, play)
    pair.check()
    assert get_outcome(pair) == Outcome.MERGED


def test_a_full_pool_takes_no_more_and_no_budget_comes_back_to_it():
    pair = make_pair()
    play_round(pair, until=Phase.PROPOSE)
    pair.submit(Fund(CREATOR, MAX_POOL - pair.state.pool))
    play_round(pair, Play(absent={Act.UPDATE: NODES}))
    assert pair.state.pool == MAX_POOL
    for amount in (1, MAX_POOL, 2**256 - 1):
        with pytest.raises(Revert, match="amount out of range"):
            pair.submit(Fund(CREATOR, amount))


def test_who_attested_a_digest_proved_wrong_loses_stake_whoever_says_so():
    pair = make_pair()
    play_round(pair, PLAYS["the appeal convicts"][0])
    events = [pair.submit(Resolve(OUTSIDER, node)) for node in NODES]
    assert [bool(followed) for followed in events] == [node != RIVAL for node in NODES]


def test_a_creator_cancels_a_running_round_which_ends_by_its_rules():
    pair = make_pair()
    play_round(pair, until=Phase.VOTE)
    with pytest.raises(Revert, match="only the creator cancels"):
        pair.submit(Cancel(OUTSIDER))
    pair.submit(Cancel(CREATOR))
    play_round(pair)
    assert pair.state.phase == Phase.FINISHED
    assert get_outcome(pair) == Outcome.MERGED


def test_nodes_come_go_and_return():
    pair = make_pair()
    for node in (PROPOSER, NODES[-1]):
        pair.submit(Leave(node))
    pair.submit(TopUp(RIVAL, 5))
    with pytest.raises(Revert, match="not released yet"):
        pair.submit(Withdraw(PROPOSER))
    pair.pass_time(1000)
    pair.submit(Withdraw(PROPOSER))
    pair.submit(Join(PROPOSER, 2, 3 * STAKE))
    with pytest.raises(Revert, match="nothing to claim"):
        pair.submit(Claim(PROPOSER, BURN_ADDRESS))
    pair.check()
