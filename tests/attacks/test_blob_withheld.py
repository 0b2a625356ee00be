"""Fear: bytes that some can fetch and others cannot split the voters, or cost who could not fetch them."""

from dataclasses import dataclass

import pytest

from openflock.audit import audit
from openflock.node.node import Node
from openflock.node.reader import Reader
from openflock.protocol.calls import Confirm
from openflock.protocol.types import Act, Fault, Outcome, Verdict

from ..protocol.helpers import get_credits, get_verdict
from .nodes import PROPOSER, ROLES, SKEPTIC, Peer, Silent, get_outcomes, get_payers, pitch_camp, play

FEE = {PROPOSER: {Fault.UNAVAILABLE: 10}}


def serve(camp, role, *served, spoil=()):
    """Let one node serve only some others, and spoil what yet others hold."""
    peers = dict(zip(ROLES, (node.reader.store for node in camp.nodes), strict=True))
    peers[role].serves = [peers[other] for other in served]
    peers[role].spoils = [peers[other] for other in spoil]


def get_proposer_verdict(ledger):
    """The verdict on the withholder: the last round's, which has ended."""
    ledger.state.round = ledger.state.ended or ledger.state.round
    return get_verdict(ledger, PROPOSER)


def count_attestations(ledger):
    return sum(isinstance(entry.item, Confirm) for entry in ledger.read(0))


@pytest.mark.parametrize(
    ("served", "spoil"),
    [((), ()), ((), ("rival", "voter", "skeptic")), (("rival",), ()), (("rival",), ("voter", "skeptic"))],
    ids=["from all", "spoilt for all", "served to one of three", "spoilt for two of three"],
)
def test_what_more_than_a_third_cannot_fetch_is_left_out_and_its_proposer_alone_pays(tmp_path, served, spoil):
    camp = pitch_camp(tmp_path)
    serve(camp, "proposer", *served, spoil=spoil)
    ledger = play(camp)
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_proposer_verdict(ledger) == Verdict.UNAVAILABLE
    assert get_payers(ledger) == FEE


@pytest.mark.parametrize("spoil", [(), ("skeptic",)], ids=["withheld", "spoilt"])
def test_who_alone_cannot_fetch_an_update_gets_it_from_who_could(tmp_path, spoil):
    """What was flagged and yet accepted is put again by those who merge it, so all can attest."""
    camp = pitch_camp(tmp_path)
    serve(camp, "proposer", "rival", "voter", spoil=spoil)
    ledger = play(camp)
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_proposer_verdict(ledger) in (Verdict.PAID, Verdict.UNPAID)
    assert get_payers(ledger) == {}
    assert count_attestations(ledger) == len(ROLES)


def test_serving_two_thirds_and_then_keeping_silent_stalls_nobody(tmp_path):
    """Without the left out third and the withholder, half of the weight would attest, and no appeal would help."""
    camp = pitch_camp(tmp_path)
    serve(camp, "proposer", "rival", "voter")
    ledger = play(camp, [Silent(camp.nodes[0], absent=[Act.ATTESTATION, Act.APPEAL]), *camp.nodes[1:]])
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {PROPOSER: {Fault.NO_SHOW: 10}}


def test_who_is_served_by_nobody_is_excused_and_goes_on_from_what_the_others_merged(tmp_path):
    """The state comes from those who attested it, so the left out node proposes and votes in the next round."""
    camp = pitch_camp(tmp_path, rounds=2)
    serve(camp, "proposer", "rival", "voter")
    camp.nodes[ROLES.index("skeptic")].reader.store.deaf_to = camp.nodes[0].reader.store.brought
    ledger = play(camp)
    assert get_outcomes(ledger) == [Outcome.MERGED, Outcome.MERGED]
    assert get_payers(ledger) == {}
    assert count_attestations(ledger) == 2 * len(ROLES) - 1
    assert sum(get_credits(ledger, SKEPTIC).values()) > 0


@dataclass
class Forgetful:
    """A node that comes to the third round without the first update of the first, and finds nobody who serves it."""

    node: Node
    author: Node
    has_lost: bool = False

    def decide(self, state):
        if state.round.number == 3 and not self.has_lost:
            self.has_lost, store = True, self.node.reader.store
            self.node.reader = Reader(store)
            store.own.locate(self.author.reader.store.brought[0]).unlink()
        return self.node.decide(state)


def test_what_was_merged_before_and_is_served_no_more_is_put_again_by_who_has_it(tmp_path):
    """Half of the voters lack what a merge is compared with: no round would be merged again, the appeal mends it."""
    camp = pitch_camp(tmp_path, rounds=3)
    ledger = play(camp, [*camp.nodes[:2], *(Forgetful(node, camp.nodes[0]) for node in camp.nodes[2:])])
    assert get_outcomes(ledger) == [Outcome.MERGED] * 3


def test_a_withheld_update_is_asked_for_no_more_often_than_there_are_acts(tmp_path):
    camp = pitch_camp(tmp_path)
    serve(camp, "proposer")
    ledger = play(camp)
    withheld = ledger.state.round.proposals or ledger.state.ended.proposals
    digest = next(iter(withheld.values())).digest
    for node in camp.nodes[1:]:
        assert node.reader.store.asked[digest] <= len(Act)


def test_the_audit_of_a_withheld_update_asks_for_no_bytes_that_nobody_served(tmp_path):
    """Only what decided something must be there to be judged again."""
    camp = pitch_camp(tmp_path)
    serve(camp, "proposer")
    ledger = play(camp)
    store = camp.nodes[1].reader.store
    assert isinstance(store, Peer)
    assert audit(camp.genesis, ledger.read(0), store).state.digest == ledger.state.digest
