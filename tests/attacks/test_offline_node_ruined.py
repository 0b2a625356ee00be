"""Fear: an honest node loses its connection and, fee by fee, its stake."""

from openflock.protocol.types import Act

from ..protocol.helpers import NODES, STAKE, VOTER, Play, get_losses, play_round


def test_a_round_missed_altogether_costs_no_more_than_the_cap(make_task):
    play = Play(absent={Act.UPDATE: [VOTER], Act.ATTESTATION: [VOTER]}, hiding={Act.BALLOT: [VOTER]})
    ledger = play_round(make_task(), play)
    assert sum(get_losses(ledger, VOTER).values()) == 40 < 10 + 25 + 10


def test_a_node_that_fell_under_the_minimum_is_not_charged_again(make_task):
    ledger = make_task()
    for _ in range(3):
        play_round(ledger, Play(absent={act: [VOTER] for act in Act}))
    assert ledger.state.nodes[VOTER].stake == STAKE - 30
    assert all(get_losses(ledger, node) == {} for node in NODES if node != VOTER)
