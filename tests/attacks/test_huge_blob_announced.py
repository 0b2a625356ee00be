"""Fear: a proposer announces an endless blob, and every voter fills its disk with it."""

import os
from dataclasses import replace

import pytest

from openflock.protocol.calls import Publish
from openflock.protocol.types import Act, Fault, Outcome, Phase, Revert

from ..protocol.helpers import (
    PROPOSER,
    Play,
    get_losses,
    make_commit,
    make_opening,
    only,
    play_phase,
    play_round,
)
from .nodes import PROPOSER as LIAR
from .nodes import corrupt, get_outcomes, get_payers, pitch_camp, play

MAX_SIZE = 1 << 20


@pytest.mark.parametrize("size", [0, MAX_SIZE + 1, 2**64, 2**256 - 1])
def test_a_size_beyond_the_rules_does_not_open(make_task, size):
    ledger = play_round(make_task(), until=Phase.PROPOSE)
    opening = replace(make_opening(ledger.state, Play(), Act.UPDATE, PROPOSER), size=size)
    ledger.submit(make_commit(ledger.state, Act.UPDATE, opening))
    play_phase(ledger, Play(absent={Act.UPDATE: [PROPOSER]}))
    play_round(ledger, Play(hiding={Act.UPDATE: [PROPOSER]}), until=Phase.PUBLISH)
    with pytest.raises(Revert, match="rounds: update too large"):
        ledger.submit(opening)
    play_round(ledger, Play(hiding={Act.UPDATE: [PROPOSER]}))
    assert get_losses(ledger, PROPOSER) == {Fault.NO_SHOW: 10}


def test_the_size_is_committed_with_the_digest(make_task):
    """A reader fetches at most what was announced, and what was announced cannot be changed."""
    ledger = play_round(make_task(), until=Phase.PUBLISH)
    opening = make_opening(ledger.state, Play(), Act.UPDATE, PROPOSER)
    with pytest.raises(Revert, match="commitments: does not open"):
        ledger.submit(Publish(PROPOSER, opening.digest, MAX_SIZE, opening.salt))


def test_the_largest_size_is_allowed(make_task):
    ledger = play_round(make_task(), until=Phase.PROPOSE)
    opening = replace(make_opening(ledger.state, Play(), Act.UPDATE, PROPOSER), size=MAX_SIZE)
    ledger.submit(make_commit(ledger.state, Act.UPDATE, opening))
    play_round(ledger, Play(absent={Act.UPDATE: only()}, hiding={Act.UPDATE: [PROPOSER]}), until=Phase.PUBLISH)
    ledger.submit(opening)
    assert ledger.state.round.proposals[0].size == MAX_SIZE


def announce(size, serve):
    """Announce so many bytes for a real update, which is served or not."""

    def lie(node, state, act, opening):
        return replace(opening, size=size, **({} if serve else {"digest": ENDLESS})) if act == Act.UPDATE else opening

    return lie


@pytest.mark.parametrize("size", [100 << 30, 2**39])
def test_nobody_fetches_more_than_an_update_of_the_task_can_have(tmp_path, size):
    """Rules of many gigabytes are no reason to load them: what is too large by its form is refused unread."""
    camp = pitch_camp(tmp_path, max_size=2**39)
    corrupt(camp, "proposer", announce(size, serve=True))
    ledger = play(camp)
    digest = ledger.state.ended.proposals[0].digest
    assert [node.reader.store.asked[digest] for node in camp.nodes[1:]] == [0, 0, 0]
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {LIAR: {Fault.INADMISSIBLE: 250}}


def test_who_announces_little_and_holds_out_100_gigabytes_is_not_read(tmp_path):
    """The file is sparse: read or hashed, it would take minutes, or all memory."""
    camp = pitch_camp(tmp_path)
    liar = corrupt(camp, "proposer", announce(1000, serve=False))
    liar.outbox = Endless(liar.outbox, [node.reader.store for node in camp.nodes])
    ledger = play(camp)
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {LIAR: {Fault.UNAVAILABLE: 10}}


ENDLESS = b"\5" * 32


class Endless:
    """An outbox that puts 100 GB under one name where all the others look."""

    def __init__(self, store, peers):
        self.put, self.put_stream, self._store, self._peers = store.put, store.put_stream, store, peers

    def fetch(self, digest, max_size):
        if digest != ENDLESS:
            return self._store.fetch(digest, max_size)
        for peer in self._peers:
            path = peer.own.directory / digest.hex()
            path.touch()
            os.truncate(path, 100 << 30)
        return b"a blob that is something else"
