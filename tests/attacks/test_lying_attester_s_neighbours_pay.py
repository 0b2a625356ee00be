"""Fear: nodes that attest a wrong state drag honest ones into an appeal, or into its slashes."""

from dataclasses import replace

import pytest

from openflock.audit import audit
from openflock.protocol.calls import Entered, Resolve
from openflock.protocol.types import Act, Fault, Outcome, Phase

from ..protocol.helpers import OUTSIDER, get_credits, get_events
from .nodes import PROPOSER, ROLES, SKEPTIC, VOTER, corrupt, get_outcomes, get_payers, pitch_camp, play


def attest_wrongly(*acts):
    """Attest a state of one's own in these acts; its bytes are there for whoever asks."""

    def lie(node, state, act, opening):
        return replace(opening, digest=node.outbox.put(b"a state of my own")) if act in acts else opening

    return lie


def play_with(tmp_path, *liars):
    camp = pitch_camp(tmp_path)
    for role, acts in liars:
        corrupt(camp, role, attest_wrongly(*acts))
    return camp, play(camp)


def resolve_all(ledger):
    for address in [*ledger.state.nodes]:
        ledger.submit(Resolve(OUTSIDER, address))


@pytest.fixture
def honesty(tmp_path):
    return play_with(tmp_path / "honest")


@pytest.fixture
def honest(honesty):
    return honesty[1].state.digest


def get_pay(camp, ledger):
    return {
        role: sum(get_credits(ledger, node.identity.address).values())
        for role, node in zip(ROLES, camp.nodes, strict=True)
    }


def test_one_liar_of_four_is_outvoted_without_an_appeal(tmp_path, honesty, honest):
    camp, ledger = play_with(tmp_path, ("skeptic", [Act.ATTESTATION]))
    resolve_all(ledger)
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert ledger.state.digest == honest
    assert get_payers(ledger) == {}
    assert not any(event.phase == Phase.REATTEST for event in get_events(ledger, Entered))
    pay, before = get_pay(camp, ledger), get_pay(*honesty)
    assert pay["skeptic"] < before["skeptic"]
    assert all(pay[role] == before[role] for role in ROLES if role != "skeptic")


def test_two_liars_of_four_force_an_appeal_and_pay_for_it_alone(tmp_path, honest):
    """One comes round, and so the appeal decides; both attested wrongly before, and both pay."""
    both = (Act.ATTESTATION, Act.APPEAL)
    camp, ledger = play_with(tmp_path, ("proposer", [Act.ATTESTATION]), ("skeptic", both))
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert ledger.state.digest == honest
    resolve_all(ledger)
    assert get_payers(ledger) == {liar: {Fault.WRONG_DIGEST: 200} for liar in (PROPOSER, SKEPTIC)}
    report = audit(camp.genesis, ledger.read(0), camp.nodes[2].reader.store)
    assert (report.merges, report.state.digest) == (1, honest)


def test_two_liars_to_the_end_leave_the_old_state_and_nobody_pays(tmp_path):
    both = (Act.ATTESTATION, Act.APPEAL)
    camp, ledger = play_with(tmp_path, ("proposer", both), ("skeptic", both))
    assert get_outcomes(ledger) == [Outcome.VOID]
    assert ledger.state.digest == camp.rules.genesis
    resolve_all(ledger)
    assert get_payers(ledger) == {}


def test_a_liar_that_keeps_its_state_to_itself_gains_nothing(tmp_path, honest):
    """The digest of nothing at all: no honest node asks for its bytes, nor waits for them."""

    def lie(node, state, act, opening):
        return replace(opening, digest=b"\7" * 32) if act == Act.ATTESTATION else opening

    camp = pitch_camp(tmp_path)
    liar = corrupt(camp, "voter", lie)
    liar.outbox = Forgetful(liar.outbox)
    ledger = play(camp)
    assert ledger.state.digest == honest
    assert get_payers(ledger) == {}
    assert VOTER in ledger.state.nodes


class Forgetful:
    """An outbox that has something under every name."""

    def __init__(self, store):
        self.put, self.put_stream, self._store = store.put, store.put_stream, store

    def fetch(self, digest, max_size):
        return b"nothing" if digest == b"\7" * 32 else self._store.fetch(digest, max_size)
