"""Fear: a proposer announces an endless blob, and every voter fills its disk with it."""

from dataclasses import replace

import pytest

from openflock.protocol.calls import Publish
from openflock.protocol.types import Act, Fault, Phase, Revert

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
