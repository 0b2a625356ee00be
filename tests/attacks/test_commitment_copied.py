"""Fear: a freeloader copies another's commitment, and its opening, to be paid for work it never did."""

from dataclasses import replace

import pytest

from openflock.protocol.calls import Commit
from openflock.protocol.types import Act, Phase, Revert

from ..protocol.helpers import FREELOADER, PROPOSER, VOTER, Play, get_losses, make_opening, only, play_phase, play_round

PHASES = [(Act.UPDATE, Phase.PROPOSE, Phase.PUBLISH), (Act.BALLOT, Phase.VOTE, Phase.REVEAL)]


@pytest.mark.parametrize(("act", "committing", "opening"), PHASES)
def test_a_copied_commitment_opens_to_nothing(make_task, act, committing, opening):
    honest = Play(absent={act: [FREELOADER]})
    ledger = play_round(make_task(), honest, until=committing)
    play_phase(ledger, Play(absent={act: only(PROPOSER)}))
    ledger.submit(Commit(FREELOADER, act, ledger.state.round.commitments[act, PROPOSER], 0))
    play_phase(ledger, Play(absent={act: [PROPOSER, FREELOADER]}))
    play_round(ledger, honest, until=opening)
    shown = make_opening(ledger.state, Play(), act, PROPOSER)
    ledger.submit(shown)
    with pytest.raises(Revert, match="commitments: does not open"):
        ledger.submit(replace(shown, sender=FREELOADER))


def test_a_copied_update_is_a_no_show(make_task):
    ledger = play_round(make_task(), until=Phase.PROPOSE)
    play_phase(ledger, Play(absent={Act.UPDATE: [FREELOADER]}))
    ledger.submit(Commit(FREELOADER, Act.UPDATE, ledger.state.round.commitments[Act.UPDATE, VOTER], 0))
    play_round(ledger, Play(hiding={Act.UPDATE: [FREELOADER]}))
    assert sum(get_losses(ledger, FREELOADER).values()) == 10
