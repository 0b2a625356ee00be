import json
import os
import signal
import subprocess
import sys
import time

import pytest

from openflock.app.devnet.inputs import make_members, write_inputs
from openflock.app.devnet.record import FILE, SECRETS, Record, describe_process, end_all, is_same, list_running
from openflock.app.settings import SettingsError, parse_config
from openflock.edge.anvil import find_anvil
from openflock.edge.processes import end_process, get_start, start_process
from openflock.edge.wallet import open_wallet

needs_anvil = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(find_anvil() is None, reason="no anvil: make .anvil/installed"),
]
QUICK = ["rules.gather=4", "rules.probe=1", "train.steps=2", "rows.train=16", "rows.held_out=8"]


@pytest.fixture
def sleeper():
    process = start_process(["/bin/sleep", "600"])
    yield process
    end_process(process)


def write(out, processes, **more):
    out.mkdir(exist_ok=True)
    (out / FILE).write_text(json.dumps({"processes": processes, "summary": None, "members": [], **more}))
    return Record(out)


# --- What is written down ------------------------------------------------------------------------------------


def test_a_process_is_the_same_only_by_number_and_start(sleeper):
    described = describe_process("node", sleeper.pid)
    assert is_same(described)
    assert not is_same(described | {"started": described["started"] - 60})
    for broken in ({}, None, {"pid": "x", "started": 0}, {"pid": -1, "started": 0}, {"pid": 1, "started": None}):
        assert not is_same(broken)


def test_down_ends_what_was_started_and_nothing_that_only_has_its_number(tmp_path, sleeper):
    described = describe_process("node", sleeper.pid)
    assert end_all({"processes": [{"name": "devnet", "pid": 1, "started": 0}, described | {"started": 1.0}]}) == []
    assert sleeper.poll() is None
    assert end_all({"processes": [{"name": "devnet", "pid": 1, "started": 0}, described]}) == ["node"]
    assert sleeper.wait(10) == -signal.SIGTERM


def test_keys_left_behind_are_removed_and_no_other_directory(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{SECRETS}x").mkdir()
    (tmp_path / "mine").mkdir()
    for place in (str(tmp_path / f"{SECRETS}x"), str(tmp_path / "mine"), "/", 7, None):
        end_all({"processes": [], "secrets": place})
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_earlier_devnet_is_kept_unless_a_fresh_one_is_asked_for(tmp_path):
    record = write(tmp_path / "out", [], summary={"well": True})
    with pytest.raises(SettingsError, match="holds a devnet, finished: --fresh starts anew"):
        record.open(fresh=False)
    (tmp_path / "out" / "blobs").mkdir()
    record.open(fresh=True)
    assert not list((tmp_path / "out").iterdir())


def test_what_is_not_a_devnet_s_is_never_removed(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis").touch()
    with pytest.raises(SettingsError, match="holds other files"):
        Record(tmp_path / "out").open(fresh=True)
    record = write(tmp_path / "out", [])
    with pytest.raises(SettingsError, match="holds other files"):
        record.open(fresh=True)
    assert (tmp_path / "out" / "thesis").exists()


def test_a_devnet_that_runs_is_neither_replaced_nor_started_twice(tmp_path, sleeper):
    record = write(tmp_path / "out", [describe_process("devnet", sleeper.pid)])
    for fresh in (True, False):
        with pytest.raises(SettingsError, match="a devnet runs there: openflock devnet down"):
            record.open(fresh)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"processes": 3}', "[" * 20_000])
def test_a_record_that_is_none_is_named(refuse, tmp_path, content):
    (tmp_path / FILE).write_text(content)
    for command in ("status", "down"):
        assert FILE in refuse("devnet", command, "--out", tmp_path)


def test_where_none_was_started_that_is_said(refuse, tmp_path):
    assert "no devnet was ever started here" in refuse("devnet", "status", "--out", tmp_path)


def test_an_interrupted_devnet_says_how_to_start_anew(call, tmp_path):
    write(tmp_path / "out", [])
    code, out, _ = call("devnet", "status", "--out", tmp_path / "out")
    assert (code, "unfinished, nothing runs" in out) == (0, True)
    assert "nothing of" in call("devnet", "down", "--out", tmp_path / "out")[1]


# --- What nodes are given ------------------------------------------------------------------------------------


def test_nodes_share_domains_out_and_no_row_goes_to_two(tmp_path):
    rows = {"train": 4, "held_out": 2}
    config = parse_config({"domains": ["reverse", "shift"], "nodes_per_domain": 2, "rows": rows})
    members = make_members(config, 3, tmp_path)
    assert [member.name for member in members] == ["reverse-1", "shift-1", "reverse-2"]
    (tmp_path / "out" / "data").mkdir(parents=True)
    write_inputs(tmp_path / "out", config, members)
    lines = [(tmp_path / "out" / "data" / f"{member.name}.jsonl").read_text().splitlines() for member in members]
    assert [len(given) for given in lines] == [6, 6, 6]
    assert len({line for given in lines for line in given}) == 18


def test_each_node_has_a_key_and_a_password_of_its_own_that_nobody_else_reads(tmp_path):
    members = make_members(parse_config({"domains": ["reverse"]}), 2, tmp_path)
    passwords = [(member.keys / "password").read_text() for member in members]
    assert len(set(passwords)) == 2
    for member, password in zip(members, passwords, strict=True):
        assert open_wallet(member.keys / "wallet.json", password).address.lower() == member.address
        assert {path.stat().st_mode & 0o077 for path in (member.keys, *member.keys.iterdir())} == {0}


# --- The whole -----------------------------------------------------------------------------------------------


def start(out, *options):
    changes = [part for change in QUICK for part in ("--set", change)]
    command = [sys.executable, "-m", "openflock", "devnet", "up", "--out", str(out), *options, *changes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def list_secrets(content):
    return os.path.exists(content["secrets"])  # noqa: PTH110


class TestProcesses:
    pytestmark = needs_anvil

    def test_a_network_of_processes_plays_a_task_to_its_end_and_is_audited(self, call, refuse, tmp_path):
        out = tmp_path / "out"
        process = start(out, "--nodes", "3", "--rounds", "1")
        said, _ = process.communicate(timeout=400)
        assert process.returncode == 0, said
        content = json.loads((out / FILE).read_text())
        summary = content["summary"]
        assert summary["well"]
        digests = {node["digest"] for node in summary["nodes"]}
        assert digests == {summary["digest"]} == {audit["digest"] for audit in summary["audits"].values()}
        assert [ended["outcome"] for ended in summary["rounds"]] == ["merged"]
        assert sum(node["earned"] for node in summary["nodes"]) > 0
        assert not list_running(content)
        assert not list_secrets(content)
        assert "all nodes and the audit hold it" in call("devnet", "status", "--out", out)[1]
        assert "holds a devnet, finished" in refuse("devnet", "up", "--out", out)

    @pytest.mark.long
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_whoever_ends_it_ends_all_that_it_started(self, call, tmp_path, number):
        out = tmp_path / "out"
        process = start(out, "--nodes", "3", "--rounds", "20")  # so many that no signal of a slow machine is late
        try:
            content, deadline = await_processes(process, out), time.monotonic() + 60
            process.send_signal(number)
            said, _ = process.communicate(timeout=90)
            while list_running(content) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not list_running(content), said
            if number == signal.SIGKILL:
                assert "nothing of" in call("devnet", "down", "--out", out)[1]
            else:
                assert process.returncode == 130
                assert "all that was started has ended" in said
            assert not list_secrets(content)
        finally:
            process.kill()
            process.communicate()
            end_all(json.loads((out / FILE).read_text()))


def await_processes(process, out):
    """Wait until a devnet's three nodes and its creator run."""
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        content = json.loads((out / FILE).read_text()) if (out / FILE).exists() else {"processes": []}
        if len(content["processes"]) == 6:
            assert all(get_start(described["pid"]) for described in content["processes"])
            return content
        time.sleep(0.1)
    raise AssertionError(process.communicate()[0])
