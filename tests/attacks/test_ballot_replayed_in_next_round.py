"""Fear: a voter sends last round's commitment and opening again, and is paid for judging nothing."""

import pytest

from openflock.protocol.types import Act, Phase, Revert

from ..protocol.helpers import FREELOADER, Play, make_commit, make_opening, play_phase, play_round


def test_a_ballot_of_the_last_round_does_not_open_in_this_one(make_task):
    ledger = play_round(make_task(), until=Phase.VOTE)
    opening = make_opening(ledger.state, Play(), Act.BALLOT, FREELOADER)
    commitment = make_commit(ledger.state, Act.BALLOT, opening)
    play_round(ledger)
    play_round(ledger, until=Phase.VOTE)
    ledger.submit(commitment)
    play_phase(ledger, Play(absent={Act.BALLOT: [FREELOADER]}))
    play_round(ledger, Play(absent={Act.BALLOT: [FREELOADER]}), until=Phase.REVEAL)
    with pytest.raises(Revert, match="commitments: does not open"):
        ledger.submit(opening)


def test_an_opening_is_used_once(make_task):
    ledger = play_round(make_task(), until=Phase.REVEAL)
    opening = make_opening(ledger.state, Play(), Act.BALLOT, FREELOADER)
    ledger.submit(opening)
    with pytest.raises(Revert, match="commitments: nothing committed"):
        ledger.submit(opening)
