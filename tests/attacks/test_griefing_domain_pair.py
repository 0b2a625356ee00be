"""Fear: a pair of Sybils calls a new domain theirs and reports harm for it, so that nothing is ever merged."""

import pytest

from openflock.protocol.ballot import Mark
from openflock.protocol.types import Phase, Verdict

from ..protocol.helpers import GOOD, NODES, STAKE, Play, get_losses, get_verdict, make_address, play_round

PAIR = tuple(make_address(f"sybil {i}") for i in range(2))
HONEST = (*NODES, make_address("sixth"))


def grieve(make_task, griefers, **overrides):
    ledger = make_task(nodes=(*HONEST, *griefers), domains=dict.fromkeys(griefers, 2), **overrides)
    griefs = Play(mark=lambda voter, judged: Mark(-2048) if voter in griefers and judged not in griefers else GOOD)
    return play_round(ledger, griefs, until=Phase.ATTEST)


def get_verdicts(ledger, nodes):
    return {get_verdict(ledger, node) for node in nodes}


def test_a_pair_under_the_quorum_blocks_nothing(make_task):
    assert get_verdicts(grieve(make_task, PAIR), (*HONEST, *PAIR)) == {Verdict.PAID, Verdict.UNPAID}


def test_a_single_node_blocks_nothing_with_a_pair_s_stake(make_task):
    ledger = grieve(make_task, PAIR[:1], stakes={PAIR[0]: 2 * STAKE})
    assert get_verdicts(ledger, HONEST) == {Verdict.PAID}


def test_without_a_quorum_the_pair_would_block_everything_but_its_own(make_task):
    ledger = grieve(make_task, PAIR, domain_quorum=0)
    assert get_verdicts(ledger, HONEST) == {Verdict.HARMFUL}
    assert get_verdicts(ledger, PAIR) == {Verdict.UNPAID}
    play_round(ledger)
    assert all(get_losses(ledger, node) == {} for node in HONEST)


@pytest.mark.parametrize(("stake", "verdict"), [(3 * STAKE // 2, Verdict.PAID), (2 * STAKE, Verdict.HARMFUL)])
def test_an_objection_costs_over_a_third_of_all_stake(make_task, stake, verdict):
    """Beside six honest nodes, the pair's 3 of 9 are a third, and its 4 of 10 are more; whoever proposes."""
    ledger = grieve(make_task, PAIR, stakes=dict.fromkeys(PAIR, stake))
    assert get_verdicts(ledger, HONEST) == {verdict}
