"""Fear: vetoers stop the task, take others' pay, or slash them."""

import pytest

from openflock.protocol.types import Act, Outcome, Reason

from ..protocol.helpers import (
    CREATOR,
    NODES,
    POOL,
    STAKE,
    Play,
    get_credits,
    get_losses,
    get_outcome,
    make_digest,
    play_round,
)


@pytest.mark.parametrize(("stake", "outcome"), [(3 * STAKE - 1, Outcome.MERGED), (3 * STAKE, Outcome.VETOED)])
def test_a_veto_takes_half_of_the_weight(make_task, stake, outcome):
    ledger = make_task(nodes=NODES[:4], stakes={NODES[0]: stake})
    assert get_outcome(play_round(ledger, Play(vetoers=NODES[:1]))) == outcome


def test_a_veto_slashes_nobody_and_pays_no_updates(make_task):
    ledger = play_round(make_task(), Play(vetoers=NODES[:3]))
    for node in NODES:
        assert get_losses(ledger, node) == {}
        assert set(get_credits(ledger, node)) == {Reason.VOTE}
    assert ledger.state.digest == make_digest("genesis")


def test_a_vetoer_earns_no_more_than_by_merging(make_task):
    vetoed, merged = (play_round(make_task(), Play(vetoers=vetoers)) for vetoers in (NODES, ()))
    for node in NODES:
        assert get_credits(vetoed, node)[Reason.VOTE] <= get_credits(merged, node)[Reason.VOTE]


def test_what_a_vetoed_round_did_not_spend_pays_no_other(make_task):
    ledger = play_round(make_task(), Play(vetoers=NODES))
    spent = sum(get_credits(ledger, node)[Reason.VOTE] for node in NODES)
    assert get_credits(ledger, CREATOR) == {Reason.RETURN: POOL // 3 - spent}
    assert ledger.state.pool == POOL - POOL // 3
    assert get_outcome(play_round(ledger)) == Outcome.MERGED


def test_a_committee_s_vetoes_do_not_count_in_the_appeal(make_task):
    """Two of five veto in a committee that does not agree; in the appeal they alone are still too few."""
    play = Play(digest=lambda node, act: make_digest(node if act == Act.ATTESTATION else "same"), vetoers=NODES[:2])
    assert get_outcome(play_round(make_task(), play)) == Outcome.MERGED
