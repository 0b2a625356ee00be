"""Fear: the endpoint that a node reads the chain from invents, changes or hides entries, and the node acts on them."""

from dataclasses import replace
from threading import Event

import pytest

from openflock.node.daemon import Daemon
from openflock.node.duties import Keeper, Player
from openflock.node.pace import Pace
from openflock.protocol.calls import Advance, Commit, Drawn, Entered, Join, Slashed
from openflock.protocol.ports import Entry
from openflock.protocol.replay import Divergence
from openflock.protocol.types import Fault, Outcome, Phase, Revert

from ..protocol.helpers import OUTSIDER, advance, mine_past_seed
from .nodes import MAX_CALLS, PROPOSER, RIVAL, SKEPTIC, get_outcomes, get_payers, pitch_camp


class Endpoint:
    """What a node takes for the chain: it passes calls on, and tells of the log what it likes."""

    def __init__(self, ledger):
        self.ledger, self.lie, self.calls = ledger, lambda entries: entries, []

    def get_genesis(self):
        return self.ledger.get_genesis()

    def read(self, since):
        return self.lie(list(self.ledger.read(0)))[since:]

    def submit(self, call):
        self.calls.append(call)
        self.ledger.submit(call)


class Silence:
    """A log that nobody reads."""

    def info(self, event, **fields):
        pass

    warning = exception = info


def run_daemon(node, endpoint):
    """The daemon of one node behind an endpoint; it is stepped, never run."""
    stop = Event()
    duties = [Player(node, lambda: endpoint.read(0), Pace(stop)), Keeper(node.identity.address, endpoint.ledger)]
    return Daemon(endpoint, endpoint.ledger, duties, Silence(), lambda state: state.phase == Phase.FINISHED, stop=stop)


def play_until(ledger, nodes, daemon, phase):
    """Play honestly until a phase begins, the daemon among the others."""
    for _ in range(2 * MAX_CALLS):
        if ledger.state.phase == phase:
            break
        seen = len(ledger.read(0))
        for node in nodes:
            while (call := node.decide(ledger.state)) is not None:
                ledger.submit(call)
        while daemon.step() == 0 and ledger.state.phase != phase:
            pass
        if len(ledger.read(0)) == seen:
            advance(ledger)
    assert ledger.state.phase == phase
    return ledger


@pytest.fixture
def scene(tmp_path):
    """A task at its vote, and the daemon of one of its nodes behind an endpoint that was honest so far."""
    camp = pitch_camp(tmp_path)
    ledger = camp.open_ledger()
    endpoint = Endpoint(ledger)
    daemon = run_daemon(camp.nodes[-1], endpoint)
    play_until(ledger, camp.nodes[:-1], daemon, Phase.PROBE)
    ledger.wait_until(ledger.state.deadline + 1)
    return endpoint, daemon


LATE = {SKEPTIC: {Fault.HIDDEN_BALLOT: 25, Fault.NO_SHOW: 10}}  # its ballot was in time, and never opened


def append(*items):
    return lambda entries: [*entries, *(Entry(entries[-1].time + 1, entries[-1].block + 1, item) for item in items)]


def change(kind, **fields):
    """Change the last entry of a kind, wherever it is."""

    def lie(entries):
        at = max(at for at, entry in enumerate(entries) if isinstance(entry.item, kind))
        entries[at] = replace(entries[at], item=replace(entries[at].item, **fields))
        return entries

    return lie


def advance_first(endpoint, lie):
    """Let the lie be about an entry that is new: one that was read is not read again."""
    endpoint.ledger.submit(Advance(OUTSIDER))
    endpoint.lie = lie


def drop_last(entries):
    return entries[:-1]


def run_backwards(entries):
    last = [replace(entry, time=entry.time - 1000) for entry in entries[-2:]]
    return [*entries[:-2], *last]


LIES = {
    "a slash from nowhere": append(Slashed(PROPOSER, Fault.BACKDOOR, 500)),
    "a call that the rules refuse": append(Join(RIVAL, 0, 1000)),
    "a call in the name of somebody without a seat": append(Commit(OUTSIDER, 2, b"\1" * 32, 0)),
    "two steps at once": append(Advance(OUTSIDER), Entered(1, Phase.ATTEST, 2_000_000)),
    "another deadline": change(Entered, deadline=2_000_000),
    "another phase": change(Entered, phase=Phase.CONFIRM),
    "a step without what follows": drop_last,
    "time that runs backwards": run_backwards,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_a_log_that_breaks_the_rules_stops_the_node_before_it_signs_anything(scene, lie):
    endpoint, daemon = scene
    endpoint.calls.clear()
    advance_first(endpoint, lie)
    with pytest.raises(Divergence, match=r"^entry \d+: "):
        daemon.run()
    assert endpoint.calls == []


def test_seats_that_the_seed_did_not_draw_stop_the_node(tmp_path):
    """Who could choose the committee could choose the state."""
    camp = pitch_camp(tmp_path)
    ledger = camp.open_ledger()
    endpoint = Endpoint(ledger)
    daemon = run_daemon(camp.nodes[-1], endpoint)
    play_until(ledger, camp.nodes[:-1], daemon, Phase.DRAW)
    mine_past_seed(ledger)
    endpoint.lie = change(Drawn, voters=(RIVAL,), voter_weights=(4000,))
    with pytest.raises(Divergence, match="the rules give Drawn"):
        daemon.step()


def test_what_is_hidden_from_a_node_makes_it_late_and_never_wrong(tmp_path):
    """An endpoint that stands still from the vote on: the node pays for its silence, and plays on once it sees."""
    camp = pitch_camp(tmp_path, rounds=2)
    ledger, others = camp.open_ledger(), camp.nodes[:-1]
    endpoint = Endpoint(ledger)
    daemon = run_daemon(camp.nodes[-1], endpoint)
    play_until(ledger, others, daemon, Phase.VOTE)
    seen = list(ledger.read(0))
    endpoint.lie = lambda entries: seen
    play_until(ledger, others, daemon, Phase.GATHER)
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == LATE
    endpoint.lie = lambda entries: entries
    play_until(ledger, others, daemon, Phase.FINISHED)
    assert get_outcomes(ledger) == [Outcome.MERGED] * 2
    assert get_payers(ledger) == LATE


def test_a_call_that_the_true_task_refuses_is_not_insisted_on(scene):
    """A log that follows the rules, and is not the chain's, gets no more from a node than a refused call."""
    endpoint, daemon = scene
    ledger = endpoint.ledger
    submitted = ledger.submit

    def refuse(call):
        raise Revert("rounds: not now")

    ledger.submit = refuse
    submitted(Advance(OUTSIDER))
    pauses = [daemon.step() for _ in range(4)]
    assert all(pause > 0 for pause in pauses)
    assert daemon.last_error == "rounds: not now"
