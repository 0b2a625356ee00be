import json
import re
import signal
import time
import urllib.request

import pytest
from eth_account import Account

from openflock.app.node.status import read_status
from openflock.app.task.view import Follower
from openflock.edge.anvil import find_anvil, find_free_port, start_anvil
from openflock.edge.rpc import connect

from .yard import PASSWORD, open_yard

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(find_anvil() is None, reason="no anvil: make .anvil/installed"),
]
DARK = "http://127.0.0.1:1/v3/secret-key"  # nobody listens there


@pytest.fixture(scope="module")
def yard(tmp_path_factory):
    """A task that waits for nodes."""
    with open_yard(tmp_path_factory.mktemp("yard"), gather=3600, unbonding=5000) as yard:
        yield yard


@pytest.fixture
def expect(yard, call, monkeypatch):
    """A node that cannot start says why, and how to mend it, in so many lines; nothing is staked."""
    monkeypatch.setenv("OPENFLOCK_ANVIL", str(find_anvil()))  # which is looked for from here
    monkeypatch.chdir(yard.path)

    def expect(*lines, **changes):
        code, out, err = call("node", "run", *yard.list_options(0, **changes))
        said = err.splitlines()
        assert code == 2
        assert len(said) == len(lines), err
        for wanted, line in zip(lines, said, strict=True):
            assert re.search(f"openflock: .*{wanted}", line), err
        assert PASSWORD not in out + err

    return expect


# --- What a user gets wrong ----------------------------------------------------------------------------------


def test_a_wrong_password_is_said(yard, expect):
    (yard.path / "wrong").write_text("a guess\n")
    expect(r"wallet0\.json: wrong password", password_file=yard.path / "wrong")


def test_a_missing_wallet_is_said(yard, expect):
    expect(r"nowhere\.json: no such wallet: make one", wallet="nowhere.json")


def test_an_address_without_a_task_is_said(yard, expect):
    expect("no contract at this address", task="0x" + "12" * 20)


def test_what_is_no_address_is_said_and_no_directory_is_named_after_it(yard, expect):
    expect("--task 1: not an address", task="1", dir=None)
    assert not list(yard.path.glob("node-*"))


def test_a_task_is_not_looked_for_on_another_chain(yard, expect):
    with start_anvil(chain=5) as other:
        expect(f"{other.url} is of chain 5, not 31337", rpc=f"{yard.anvil.url},{other.url}")


def test_a_chain_that_does_not_answer_is_said_without_the_key_in_its_url(yard, call):
    code, out, err = call("node", "run", *yard.list_options(0, rpc=DARK))
    assert (code, err.count("\n")) == (2, 1)
    assert "127.0.0.1:1 cannot be connected to" in err
    assert "secret-key" not in out + err + (yard.path / "node0" / "node.log").read_text()


def test_all_that_lacks_is_said_at_once(yard, expect):
    (yard.path / "empty.jsonl").write_text("")
    expect(
        "empty.jsonl: no rows",
        "--stake 1.00: less than the task's minimum; stake 50.00 or more",
        "--store: the task's job is not there",
        data="empty.jsonl",
        stake="1",
        store=yard.path / "elsewhere",
    )


def test_a_wallet_that_cannot_pay_is_said_before_anything_is_staked(yard, expect):
    keystore = Account.encrypt(Account.create().key, PASSWORD, "pbkdf2", 1000)
    (yard.path / "poor.json").write_text(json.dumps(keystore))
    expect(
        "holds 0.00 of the token .* the stake is 100.00; send it tokens or stake less",
        "holds 0.000000 of the chain's coin, .*; send it some",
        wallet="poor.json",
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"data": "nowhere.jsonl"}, "--data nowhere.jsonl: no such file"),
        ({"domain": "law"}, "--domain law: the task has reverse, shift"),
        ({"base": "."}, r"\.: no config.json"),
        ({"config": "bad.toml"}, r"bad.toml: stepz: extra inputs are not permitted"),
        ({"store": "gopher://there"}, "gopher"),
        ({"stake": "much"}, "much: not an amount of tokens"),
        ({"stake": "5000"}, "the stake is 5,000.00; send it tokens or stake less"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_mend(yard, expect, changes, fault):
    (yard.path / "bad.toml").write_text("stepz = 3\n")
    expect(fault, **changes)


def test_rows_of_no_known_domain_are_asked_about(yard, expect):
    rows = (yard.path / "data0" / "reverse" / "train.jsonl").read_text()
    (yard.path / "mine.jsonl").write_text(rows)
    expect("--domain: say which kind of data mine.jsonl is: reverse, shift", data="mine.jsonl")


def test_without_a_wallet_a_node_can_only_watch(yard, refuse):
    assert "--watch" in refuse("node", "run", *yard.list_options(0, wallet=None))


def test_a_place_where_no_node_ran_has_no_status(yard, refuse):
    assert "no node ever ran here" in refuse("node", "status", yard.path / "data0")


# --- One node ------------------------------------------------------------------------------------------------


def await_event(yard, number, event):
    """Wait until a node's log tells an event."""
    file = yard.path / f"node{number}" / "node.log"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if file.exists() and any(line["event"] == event for line in yard.read_log(number)):
            return
        time.sleep(0.2)
    raise AssertionError(f"node {number} never came to {event!r}")


def test_a_node_joins_waits_and_stops_when_told_and_its_stake_can_be_taken_home(yard, call):
    port = find_free_port()
    process = yard.start("node", "run", *yard.list_options(1, metrics_port=port))
    await_event(yard, 1, "calls")
    deadline = time.monotonic() + 100
    while not read_status(yard.path / "node1")["member"] and time.monotonic() < deadline:
        time.sleep(0.2)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert "openflock_stake_tokens 100.0" in answer.read().decode()
    code, _, err = call("node", "run", *yard.list_options(1))
    assert code == 2
    assert "in use by another process" in err
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stopped" in err
    assert "Traceback" not in err
    code, out, _ = call("node", "status", yard.path / "node1", "--json", "--rpc", yard.anvil.url)
    status = json.loads(out)
    assert (code, status["running"], status["chain_view"]["stake"]) == (0, False, 100 * 10**18)

    common = yard.list_options(1, store=None, data=None, config=None)
    code, _, err = call("node", "top-up", "7", *common)
    assert code == 0
    assert "107" in err
    code, _, err = call("node", "withdraw", *common)
    assert code == 0
    assert "leaving" in err
    code, out, _ = call("node", "status", yard.path / "node1", "--rpc", yard.anvil.url)
    assert "leaving: the stake is released at" in out
    yard.anvil.request("evm_increaseTime", 6000)
    yard.anvil.request("evm_mine")
    code, _, err = call("node", "withdraw", *common)
    assert code == 0
    assert "withdrawn" in err
    code, _, err = call("node", "withdraw", *common)
    assert code == 2
    assert "nothing to withdraw" in err


# --- A whole task --------------------------------------------------------------------------------------------


def test_nodes_that_know_only_chain_and_store_finish_a_task_though_one_is_killed(tmp_path):
    """The creator opens its sealed rows meanwhile, so that the only holder of the second domain is examined too."""
    with open_yard(tmp_path, sealed=4) as yard:
        nodes = [yard.start("node", "run", *yard.list_options(number)) for number in range(3)]
        bare = {"data": None, "wallet": None, "config": None}
        watcher = yard.start("node", "run", "--watch", *yard.list_options(9, **bare))
        creator = yard.start("node", "run", "--watch", *yard.list_options(8, **bare, chest=tmp_path / "chest"))
        await_event(yard, 2, "trains")
        nodes[2].send_signal(signal.SIGKILL)
        nodes[2].communicate()
        nodes[2] = yard.start("node", "run", *yard.list_options(2))
        for process in (*nodes, watcher, creator):
            _, err = process.communicate(timeout=400)
            assert process.returncode == 0, err
            assert "Traceback" not in err
        ends = [read_status(yard.path / f"node{number}") for number in (0, 1, 2, 9)]
        assert {(end["finished"], end["running"]) for end in ends} == {(True, False)}
        assert len({end["digest"] for end in ends}) == 1
        assert [end["slashed"] for end in ends] == [0] * 4
        assert [line for line in yard.read_log(9) if line["event"] == "audited"]
        story = Follower(connect([yard.anvil.url]), yard.task).view().stories[0]
        assert len(story.ballots) == 3
        assert None not in [story.get_sealed_score(slot) for slot in story.judgements]
        shown = "".join(path.read_text() for path in yard.path.glob("node?/*.log"))
        assert PASSWORD not in shown
        assert (yard.path / "node0").stat().st_mode & 0o077 == 0
