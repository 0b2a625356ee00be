"""Fear: one bad proposer and all are slashed, as where the aggregate is voted on."""

import pytest

from openflock.protocol.ballot import Mark
from openflock.protocol.types import Flag, Outcome, Reason

from ..protocol.helpers import ACCUSER, NODES, PROPOSER, Play, against, get_credits, get_losses, get_outcome, play_round

BAD = [Mark(0, Flag.INADMISSIBLE), Mark(0, Flag.SUSPECT), Mark(0, Flag.UNAVAILABLE), Mark(-2048)]


@pytest.mark.parametrize("mark", BAD)
def test_one_bad_proposer_costs_nobody_else(make_task, mark):
    ledger = make_task()
    play_round(ledger, Play(mark=against(PROPOSER, mark), witnesses={ACCUSER: (PROPOSER, 100)}))
    assert get_outcome(ledger) == Outcome.MERGED
    for node in NODES[1:]:
        assert get_losses(ledger, node) == {}
        assert get_credits(ledger, node)[Reason.PROPOSAL] == 1800


def test_a_bad_aggregate_costs_nobody(make_task):
    ledger = play_round(make_task(), Play(vetoers=NODES))
    assert get_outcome(ledger) == Outcome.VETOED
    assert all(get_losses(ledger, node) == {} for node in NODES)
