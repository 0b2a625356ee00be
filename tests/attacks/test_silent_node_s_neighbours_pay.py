"""Fear: a node that falls silent in the middle of a round costs its neighbours their round, or their stake."""

import pytest

from openflock.protocol.types import Act, Fault, Outcome, Phase

from .nodes import PROPOSER, ROLES, SKEPTIC, Silent, get_outcomes, get_payers, pitch_camp, play

ALWAYS_SILENT = (Act.UPDATE, Act.BALLOT, Act.ATTESTATION)


def silence(camp, *roles, **silent):
    """The camp's nodes, of which some keep silent in the first round."""
    return [Silent(node, **silent) if role in roles else node for role, node in zip(ROLES, camp.nodes, strict=True)]


@pytest.mark.parametrize(
    ("silent", "losses"),
    [
        ({"absent": [Act.UPDATE]}, {Fault.NO_SHOW: 10}),
        ({"hiding": [Act.UPDATE]}, {Fault.NO_SHOW: 10}),
        ({"absent": [Act.BALLOT]}, {Fault.NO_SHOW: 10}),
        ({"hiding": [Act.BALLOT]}, {Fault.HIDDEN_BALLOT: 25}),
        ({"absent": [Act.ATTESTATION]}, {Fault.NO_SHOW: 10}),
        ({"hiding": [Act.ATTESTATION]}, {Fault.NO_SHOW: 10}),
        ({"absent": ALWAYS_SILENT}, {Fault.NO_SHOW: 30}),
    ],
    ids=str,
)
def test_one_silent_node_pays_alone_and_the_others_merge(tmp_path, silent, losses):
    camp = pitch_camp(tmp_path)
    ledger = play(camp, silence(camp, "proposer", **silent))
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {PROPOSER: losses}


@pytest.mark.parametrize("act", [Act.BALLOT, Act.ATTESTATION])
def test_more_than_a_third_silent_void_the_round_and_pay_for_it_alone(tmp_path, act):
    """The honest find the old state still there in the next round, and merge it."""
    camp = pitch_camp(tmp_path, rounds=2)
    silent = [act] if act == Act.BALLOT else [Act.ATTESTATION, Act.APPEAL]
    ledger = play(camp, silence(camp, "proposer", "skeptic", absent=silent))
    assert get_outcomes(ledger) == [Outcome.VOID, Outcome.MERGED]
    assert get_payers(ledger) == {PROPOSER: {Fault.NO_SHOW: 10}, SKEPTIC: {Fault.NO_SHOW: 10}}


def test_who_comes_back_for_the_appeal_saves_the_round(tmp_path):
    """Half of the committee attests nothing; asked again, all stake does."""
    camp = pitch_camp(tmp_path)
    ledger = play(camp, silence(camp, "proposer", "skeptic", absent=[Act.ATTESTATION]))
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {PROPOSER: {Fault.NO_SHOW: 10}, SKEPTIC: {Fault.NO_SHOW: 10}}


def test_all_silent_leave_the_old_state_and_a_task_that_ends(tmp_path):
    camp = pitch_camp(tmp_path, rounds=2)
    ledger = play(camp, silence(camp, *ROLES, absent=ALWAYS_SILENT))
    assert get_outcomes(ledger) == [Outcome.EMPTY, Outcome.MERGED]
    assert ledger.state.phase == Phase.FINISHED
