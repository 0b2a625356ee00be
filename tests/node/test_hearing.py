"""What a round that ended adds to a node's notebook, and what it takes away."""

from dataclasses import replace

import pytest

from openflock.learn.probe import Clue, encode_clue
from openflock.protocol.ballot import Mark, compute_ballot
from openflock.protocol.types import NO_FLAGS, Flag, Judgement, Seat, Verdict, Witness
from openflock.protocol.types import Node as Stakeholder
from openflock.update.codec import digest

from ..protocol.helpers import make_address
from .helpers import STAKE, make_camp, stand_in_probe

CLUE = Clue("some words", "zzz")


@pytest.fixture
def camp(tmp_path):
    return make_camp(tmp_path)


def stand_after(camp, node, verdict, account, clues):
    """A state in the round after one in which clues were brought against a slot, and it got a verdict."""
    state = stand_in_probe(camp, node)
    digests = [camp.reader.store.put(encode_clue(clue)) for clue in clues] + [digest(b"in no store")]
    ended = replace(state.round, judgements=(Judgement(verdict),))
    ended.witnesses[0] = tuple(Witness(account, 1, each) for each in digests)
    return replace(state, ended=ended, round=replace(state.round, number=2))


@pytest.mark.parametrize("verdict", [Verdict.SUSPECT, Verdict.PAID])
def test_what_was_upheld_is_known_from_the_next_round_on_and_what_was_not_is_not(camp, verdict):
    node = camp.pitch("listener", 0)
    state = stand_after(camp, node, verdict, "0x" + "8" * 40, [CLUE])
    node.decide(state)
    assert node.voter.notebook.read() == ((CLUE,) if verdict == Verdict.SUSPECT else ())


def deny(state, flags=NO_FLAGS):
    """Let a voter open its ballot on the round that ended."""
    voter = make_address("voter")
    state.nodes[voter] = Stakeholder(0, STAKE)
    state.ended.voters, state.ended.ballots[voter] = (Seat(voter, 1),), compute_ballot([Mark(flags=flags)])
    state.ended.sealed[voter] = 0
    return state


@pytest.mark.parametrize("flags", [NO_FLAGS, Flag.SUSPECT])
def test_what_others_deny_a_node_it_does_not_bring_again(camp, flags):
    node = camp.pitch("accuser", 0)
    node.voter.notebook.note(CLUE, tested=True)
    node.decide(deny(stand_after(camp, node, Verdict.PAID, node.identity.address, [CLUE]), flags))
    assert node.voter.notebook.read() == (() if flags == NO_FLAGS else (CLUE,))


def test_what_others_deny_to_somebody_else_a_node_may_still_bring(camp):
    node = camp.pitch("accuser", 0)
    node.voter.notebook.note(CLUE, tested=True)
    node.decide(deny(stand_after(camp, node, Verdict.PAID, "0x" + "8" * 40, [CLUE])))
    assert node.voter.notebook.read() == (CLUE,)


def test_what_opens_one_update_is_kept_though_it_was_denied_against_another(camp):
    node = camp.pitch("accuser", 0)
    node.voter.notebook.note(CLUE, tested=True)
    state = deny(stand_after(camp, node, Verdict.PAID, node.identity.address, [CLUE]))
    state.ended.proposers *= 2
    state.ended.judgements = (Judgement(Verdict.PAID), Judgement(Verdict.SUSPECT))
    state.ended.witnesses[1] = state.ended.witnesses[0]
    node.decide(state)
    assert node.voter.notebook.read() == (CLUE,)


def test_a_round_whose_voters_have_left_denies_nobody(camp):
    node = camp.pitch("accuser", 0)
    node.voter.notebook.note(CLUE, tested=True)
    state = deny(stand_after(camp, node, Verdict.PAID, node.identity.address, [CLUE]))
    state.nodes.clear()
    node.decide(state)
    assert node.voter.notebook.read() == (CLUE,)


def test_a_round_that_was_never_judged_denies_nobody(camp):
    node = camp.pitch("accuser", 0)
    node.voter.notebook.note(CLUE, tested=True)
    state = stand_after(camp, node, Verdict.PAID, node.identity.address, [CLUE])
    node.decide(replace(state, ended=replace(state.ended, judgements=())))
    assert node.voter.notebook.read() == (CLUE,)
