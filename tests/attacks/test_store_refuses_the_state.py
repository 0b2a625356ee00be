"""Fear: who fills trackers with lies, or puts something under the next state's name, keeps voters from attesting it."""

from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Outcome

from .nodes import ROLES, Peer, get_outcomes, get_payers, pitch_camp, play


class Refusing(Peer):
    """A store that takes updates, and nothing once they are judged: anyone can compute then what will be put."""

    def __init__(self, peer):
        super().__init__(peer.own.directory)
        self.serves, self.updates, self.refused = peer.serves, 1, 0

    def put(self, data):
        if not self.updates:
            self.refused += 1
            raise Unreachable("no tracker takes it")
        self.updates -= 1
        return super().put(data)


def test_all_attest_what_no_store_takes(tmp_path):
    camp = pitch_camp(tmp_path)
    stores = [Refusing(node.reader.store) for node in camp.nodes]
    for node, store in zip(camp.nodes, stores, strict=True):
        store.serves = stores
        node.reader.store = store
    ledger = play(camp)
    assert get_outcomes(ledger) == [Outcome.MERGED]
    assert get_payers(ledger) == {}
    assert sum(store.refused for store in stores) == len(ROLES)
