"""Fear: who fills trackers with lies, or puts something under the next state's name, keeps voters from attesting it."""

from openflock.edge.blobs import DirectoryStore
from openflock.node.reader import Reader
from openflock.node.recovery import rebuild_state
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Outcome
from openflock.update.codec import decode_state
from openflock.update.container import Malformed

from .nodes import ROLES, Peer, get_outcomes, get_payers, pitch_camp, play


class Refusing(Peer):
    """A store that takes updates and no states: anyone can compute, before it is put, under which name one will be."""

    def __init__(self, peer):
        super().__init__(peer.own.directory)
        self.serves, self.refused = peer.serves, 0

    def put(self, data):
        if is_state(data):
            self.refused += 1
            raise Unreachable("no tracker takes it")
        return super().put(data)


def is_state(data):
    try:
        decode_state(data)
    except Malformed:
        return False
    return True


def test_all_attest_what_no_store_takes_and_go_on_from_it(tmp_path):
    camp = pitch_camp(tmp_path, rounds=2)
    stores = [Refusing(node.reader.store) for node in camp.nodes]
    for node, store in zip(camp.nodes, stores, strict=True):
        store.serves = stores
        node.reader = Reader(store, node.outbox)
    ledger = play(camp)
    assert get_outcomes(ledger) == [Outcome.MERGED] * 2
    assert get_payers(ledger) == {}
    assert sum(store.refused for store in stores) == 2 * len(ROLES)


def test_who_lacks_it_merges_it_again_and_goes_on_though_no_store_takes_it(tmp_path):
    camp = pitch_camp(tmp_path)
    ledger = play(camp)
    digest = ledger.state.digest
    peer = camp.nodes[0].reader.store
    peer.own.locate(digest).unlink()
    reader = Reader(Refusing(peer), DirectoryStore(tmp_path / "outbox"))
    rebuild_state(camp.genesis, ledger.read(0), reader)
    assert reader.fetch_state(digest).step == 1
