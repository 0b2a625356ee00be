"""What a node is made of, by its settings and by the job."""

from contextlib import closing
from threading import Event

import pytest
import structlog
from eth_account import Account

from openflock.app.node.ground import Chain, Ground
from openflock.app.node.run import build_node
from openflock.app.node.settings import NodeConfig
from openflock.app.rows import load_split, seal_rows
from openflock.app.settings import parse_config
from openflock.app.world import agree_rules, load_task_model
from openflock.edge.blobs import DirectoryStore
from openflock.edge.journal import Journal
from openflock.node.pace import Pace
from openflock.node.reader import Reader
from openflock.protocol.job import decode_job
from openflock.protocol.round import create_state
from openflock.protocol.types import Genesis

TABLE = {"title": "small", "domains": ["reverse", "shift"], "max_length": 64, "rank": 2, "alpha": 8}


@pytest.mark.parametrize("probe", [False, True])
@pytest.mark.parametrize("sealed", [0, 2])
def test_a_node_searches_if_it_is_told_to_and_examines_if_rows_are_sealed(tmp_path, probe, sealed):
    config = parse_config({**TABLE, "rows": {"sealed": sealed}})
    store, model = DirectoryStore(tmp_path / "blobs"), load_task_model(config)
    digests = seal_rows(config, config.domains, DirectoryStore(tmp_path / "chest"), b"secret")
    rules = agree_rules(config, config.domains, 4, model, Reader(store), digests)
    state = create_state(Genesis(1, "0x" + "1" * 40, "0x" + "2" * 40, "0x" + "3" * 40, 0, rules))
    rows = load_split(config, "reverse", "train", 12)
    with closing(Journal(tmp_path / "journal.db")) as journal:
        settings, job = NodeConfig(probe=probe), decode_job(store.fetch(rules.job, 2**20))
        chain = Chain(None, None, None, state)
        ground = Ground(settings, chain, store, journal, job, model.path, 0, rules.min_stake, rows[4:], rows[:4])
        account = Account.from_key(b"\1" * 32)
        node = build_node(ground, account, tmp_path / "node", Pace(Event()), structlog.get_logger(), store)
    assert (node.searcher is not None) == probe
    assert (node.examiner is not None) == bool(sealed)
    assert not probe or node.searcher.rows == node.voter.rows == rows[:4]
    assert not sealed or list(node.examiner.digests) == digests
