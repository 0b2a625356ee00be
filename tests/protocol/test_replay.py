from dataclasses import replace

import pytest

from openflock.protocol.calls import Advance, Credited, Drawn, Entered, Join, Seeded
from openflock.protocol.replay import Divergence, Replica, describe
from openflock.protocol.types import Phase

from .helpers import ACCUSER, OUTSIDER, PROPOSER, STAKE, VOTER, Play, make_digest, make_genesis, make_ledger, play_round


@pytest.fixture(scope="module")
def log():
    return list(play_round(make_ledger(), Play(witnesses={ACCUSER: (PROPOSER, 100)})).read(0))


def replay(log):
    replica = Replica(make_genesis())
    replica.apply(log)
    return replica


def find(log, kind):
    return next(i for i, entry in enumerate(log) if isinstance(entry.item, kind))


def test_a_log_gives_the_state_of_its_ledger():
    ledger = play_round(make_ledger())
    replica = replay(ledger.read(0))
    assert replica.state == ledger.state
    assert replica.position == len(ledger.read(0))


def test_a_replica_keeps_up_in_pieces(log):
    ledger, replica = make_ledger(), Replica(make_genesis())
    for phase in (Phase.DRAW, Phase.VOTE, None):
        play_round(ledger, until=phase)
        steps = replica.apply(ledger.read(replica.position))
        assert replica.state == steps[-1].state == ledger.state


def test_steps_say_where_they_begin_and_what_followed(log):
    steps = Replica(make_genesis()).apply(log)
    assert [log[step.entry].item for step in steps] == [step.call for step in steps]
    assert sum(1 + len(step.events) for step in steps) == len(log)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Credited, {"amount": 1}), (Drawn, {"budget": 0}), (Entered, {"deadline": 0}),
        (Seeded, {"blockhash": make_digest("ground")}),
    ],
)  # fmt: skip
def test_a_changed_event_is_named(log, kind, change):
    at = find(log, kind)
    forged = [*log]
    forged[at] = replace(log[at], item=replace(log[at].item, **change))
    with pytest.raises(Divergence, match=rf"entry {at}: the rules give {kind.__name__}") as caught:
        replay(forged)
    assert caught.value.entry == at


def test_a_missing_event_is_named(log):
    at = find(log, Seeded) + 1
    with pytest.raises(Divergence, match=f"entry {at}: the rules give Drawn"):
        replay(log[:at] + log[at + 1 :])


def test_an_invented_event_is_named(log):
    at = find(log, Join) + 1
    invented = replace(log[at - 1], item=Credited(OUTSIDER, 0, 1))
    with pytest.raises(Divergence, match=f"entry {at}: the rules give no further event, the log has Credited"):
        replay([*log[:at], invented, *log[at:]])


def test_a_log_cannot_begin_with_an_event(log):
    with pytest.raises(Divergence, match=r"entry 0: Entered.* does not follow"):
        replay(log[find(log, Entered) :])


def test_a_call_that_the_rules_refuse_is_named(log):
    at = find(log, Advance)
    early = replace(log[at], time=log[at - 1].time)
    with pytest.raises(Divergence, match=f"entry {at}: Advance.* is refused: rounds: too early"):
        replay([*log[:at], early, *log[at + 1 :]])


def test_a_clock_that_runs_backwards_is_noticed(log):
    at = find(log, Advance)
    with pytest.raises(Divergence, match=f"entry {at}: time runs backwards"):
        replay([*log[:at], replace(log[at], time=log[0].time), *log[at + 1 :]])


def test_a_missing_call_is_noticed(log):
    at = find(log, Join)
    with pytest.raises(Divergence):
        replay(log[:at] + log[at + 1 :])


def test_items_are_shown_on_one_line():
    assert describe(Join(VOTER, 0, STAKE)) == f"Join(sender={VOTER}, domain=0, amount=1000)"
    assert describe(Seeded(1, b"\1", b"\2")) == "Seeded(target=1, blockhash=01, seed=02)"
