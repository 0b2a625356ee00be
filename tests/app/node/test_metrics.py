import sys
import urllib.request
from collections import Counter

import pytest

from openflock.app.node.metrics import Counted, Metrics, serving
from openflock.app.node.narrator import Narrator
from openflock.app.node.show import list_lines
from openflock.app.node.status import Status, read_status
from openflock.app.settings import SettingsError
from openflock.edge.anvil import find_free_port
from openflock.edge.blobs import DirectoryStore
from openflock.node.daemon import Daemon
from openflock.protocol.calls import Fund
from openflock.protocol.ports import BlobMissing, Unreachable
from openflock.protocol.types import Act, Fault

from ...node.test_daemon import Diary
from ...protocol.helpers import CREATOR, OUTSIDER, PROPOSER, STAKE, Play, advance, make_ledger, play_round


def follow(ledger, me, *others, directory=None):
    """A daemon that only looks, with the status that it keeps."""
    status = Status(me, directory)

    def on_step(step):
        for tell in (status.follow, *others):
            tell(step)

    daemon = Daemon(ledger, ledger, [], Diary(), lambda state: False, on_step)
    daemon.step()
    return daemon, status


def make_silent_round():
    """A round in which one node never votes."""
    play = Play(absent={Act.BALLOT: [PROPOSER]})
    return play_round(make_ledger(min_stake=STAKE, stakes={PROPOSER: STAKE}), play)


# --- Metrics -------------------------------------------------------------------------------------------------


def test_a_counted_store_counts_what_went_through_it(tmp_path):
    store = Counted(DirectoryStore(tmp_path))
    digest = store.put(b"bytes")
    store.put_stream([b"by", b"tes"])
    assert bytes(store.fetch(digest, 5)) == b"bytes"
    with pytest.raises(BlobMissing):
        store.fetch(bytes(32), 5)
    assert (store.put_blobs, store.fetched, store.bytes_fetched) == (2, 1, 5)


def test_prometheus_reads_what_the_node_knows_on_this_machine_alone(tmp_path):
    daemon, status = follow(make_silent_round(), PROPOSER)
    port = find_free_port()
    metrics = Metrics(daemon, status, Counted(DirectoryStore(tmp_path)))
    with serving(metrics, port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            shown = dict(line.split() for line in answer.read().decode().splitlines() if not line.startswith("#"))
        with pytest.raises(SettingsError, match=f"--metrics-port {port}: taken"), serving(metrics, port):
            pass
    assert float(shown["openflock_round"]) == 2
    assert float(shown["openflock_slashed_tokens_total"]) > 0
    assert float(shown["openflock_entries_total"]) == daemon.replica.position


def test_without_the_library_the_endpoint_is_refused_in_one_line(tmp_path, monkeypatch):
    daemon, status = follow(make_ledger(), PROPOSER)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    metrics = Metrics(daemon, status, Counted(DirectoryStore(tmp_path)))
    with pytest.raises(SettingsError, match=r"pip install '/path/to/checkout\[metrics\]'"), serving(metrics, 0):
        pass


# --- Status --------------------------------------------------------------------------------------------------


def test_a_status_says_what_the_log_says_of_a_node(tmp_path):
    ledger = make_silent_round()
    daemon, status = follow(ledger, PROPOSER, directory=tmp_path)
    status.write(daemon)
    written = read_status(tmp_path)
    assert written["stake"] == ledger.state.nodes[PROPOSER].stake == STAKE - written["slashed"]
    assert written["faults"] == {"no_show": written["slashed"]}
    assert written["owed"] == ledger.state.payable.get(PROPOSER, 0) == written["earned"]
    assert written["running"]
    assert written["member"] is False
    assert any("lost" in line for line in list_lines(written))
    assert (tmp_path / "status.json").stat().st_mode & 0o077 == 0


def test_a_status_is_written_again_only_when_it_changed(tmp_path):
    ledger = make_ledger()
    daemon, status = follow(ledger, PROPOSER, directory=tmp_path)
    status.write(daemon)
    first = (tmp_path / "status.json").stat().st_ino
    daemon.step()
    status.write(daemon)
    assert (tmp_path / "status.json").stat().st_ino == first
    ledger.submit(Fund(CREATOR, 1))
    daemon.step()
    status.write(daemon)
    assert (tmp_path / "status.json").stat().st_ino != first


def test_the_purse_is_looked_into_now_and_then_and_may_not_answer(tmp_path):
    looks = []

    def look():
        looks.append(1)
        raise Unreachable("no route")

    daemon, _ = follow(make_ledger(), PROPOSER)
    status = Status(PROPOSER, tmp_path, purse=look)
    for _ in range(3):
        status.write(daemon)
    assert (len(looks), status.coins) == (1, 0.0)


@pytest.mark.parametrize("content", ["[]", "{", '{"pid": "many"}'])
def test_a_status_that_nobody_wrote_like_this_is_refused_or_of_a_node_that_is_not_there(tmp_path, content):
    (tmp_path / "status.json").write_text(content)
    if content.endswith("}") and len(content) > 2:
        assert read_status(tmp_path)["running"] is False
    else:
        with pytest.raises(SettingsError, match=r"status\.json: not"):
            read_status(tmp_path)


# --- Narrator ------------------------------------------------------------------------------------------------


def test_a_log_tells_each_round_and_what_concerns_the_node():
    ledger, diary = make_silent_round(), Diary()
    follow(ledger, PROPOSER, Narrator(diary, PROPOSER, 0).tell)
    told = Counter(diary.list_events())
    assert told["judged"] == 5
    assert told["settled"] == told["drawn"] == 1
    assert told["slashed"] == told["out"] == 1
    fields = dict(diary.lines)
    assert fields["drawn"]["me"] == "proposer and voter"
    assert fields["slashed"]["fault"] == Fault.NO_SHOW.name
    assert "offline" in fields["slashed"]["mend"]
    assert "top-up" in fields["out"]["reason"]
    assert sum(fields.get("mine", False) for event, fields in diary.lines if event == "judged") == 1


def test_what_was_before_one_came_is_not_told():
    ledger, diary = make_silent_round(), Diary()
    follow(ledger, OUTSIDER, Narrator(diary, OUTSIDER, ledger.get_time()).tell)
    assert diary.lines == []
    advance(ledger)
    follow(ledger, OUTSIDER, Narrator(diary, OUTSIDER, ledger.get_time() - 1).tell)
    assert diary.list_events() == ["entered"]
