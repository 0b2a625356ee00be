"""Tasks on a real chain, by the commands: each test goes on where the chain stands."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from web3 import HTTPProvider, Web3

from openflock.app.settings import TOKEN, SettingsError, parse_config
from openflock.app.task.creation import prepare_rules, write_command, write_opening
from openflock.app.words import describe_rules, format_deadline, format_span, list_weaknesses, parse_tokens
from openflock.edge.anvil import find_anvil, start_anvil
from openflock.edge.blobs import DirectoryStore
from openflock.edge.evm_ledger import EvmLedger, get_contract
from openflock.edge.wallet import create_wallet, open_wallet
from openflock.protocol.calls import Join
from openflock.protocol.rules import Rules
from openflock.protocol.types import Phase

PASSWORD = "a long pass phrase"
needs_anvil = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(find_anvil() is None, reason="no anvil: make .anvil/installed"),
]
NOBODY = "http://127.0.0.1:1"


# --- Words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "amount"), [("1", TOKEN), ("12.5", 25 * TOKEN // 2), ("0.000000000000000001", 1)])
def test_tokens_are_read_to_the_last_unit(text, amount):
    assert parse_tokens(text) == amount


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "1e-19", "nan", "inf", "1e99", "1,5"])
def test_what_is_no_amount_of_tokens_is_refused(text):
    with pytest.raises(SettingsError, match="not an amount of tokens"):
        parse_tokens(text)


def test_a_deadline_says_how_long_is_left_or_since_when_it_is_over():
    assert "1 min 5 s left" in format_deadline(Phase.VOTE, 1_065, 1_000)
    assert "over since 5 s" in format_deadline(Phase.VOTE, 995, 1_000)
    assert format_deadline(Phase.DRAW, 42, 1_000) == "waits for block 42"
    assert format_deadline(Phase.FINISHED, 0, 1_000) == "the task is over"


def test_a_span_has_two_units_at_most():
    assert [format_span(seconds) for seconds in (59, 61, 86_400, 90_061)] == ["59 s", "1 min 1 s", "1 day", "1 day 1 h"]


def test_what_in_an_endpoint_s_url_may_be_secret_is_not_passed_on():
    for secret in ("https://rpc.example/v3/key", "https://user:word@rpc.example", "http://127.0.0.1:1,https://x/y?k=1"):
        assert "--rpc YOUR_RPC_URL" in write_command("0x1", secret, "s3://bucket")
        assert "--rpc YOUR_RPC_URL" in write_opening("0x1", secret, "s3://bucket", Path("chest"))
    assert "--rpc http://127.0.0.1:8545 " in write_command("0x1", "http://127.0.0.1:8545", "s3://bucket")


def test_how_deep_a_block_must_lie_goes_into_the_lines_that_others_run():
    assert "--confirmations" not in write_command("0x1", NOBODY, "s3://bucket")
    assert "--store s3://bucket --confirmations 8 --data" in write_command("0x1", NOBODY, "s3://bucket", 8)
    assert "--confirmations 8 --watch --chest" in write_opening("0x1", NOBODY, "s3://bucket", Path("chest"), 8)


# --- Without a chain -----------------------------------------------------------------------------------------


@pytest.fixture
def wallet(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENFLOCK_PASSWORD", PASSWORD)
    create_wallet(tmp_path / "wallet", PASSWORD, 2)
    return tmp_path / "wallet"


def test_a_task_needs_a_token_or_play_money(refuse, config_file, wallet, tmp_path):
    options = ["--rpc", NOBODY, "--store", tmp_path / "blobs", "--wallet", wallet]
    assert "give --token ADDR, or --dev-token" in refuse("task", "create", config_file, *options)
    both = [*options, "--dev-token", "--token", "0x" + "11" * 20]
    assert "one of the two" in refuse("task", "create", config_file, *both)
    assert not (tmp_path / "blobs").exists()


def test_rows_are_not_sealed_without_a_place_to_keep_them(tmp_path):
    config, store = parse_config({"domains": ["reverse"], "rows": {"sealed": 4}}), DirectoryStore(tmp_path)
    with pytest.raises(SettingsError, match=r"rows\.sealed: say with --chest DIR"):
        prepare_rules(config, store, None)
    with pytest.raises(SettingsError, match="is the store, where all look"):
        prepare_rules(config, store, tmp_path)
    with pytest.raises(SettingsError, match="nothing is sealed"):
        prepare_rules(parse_config({"domains": ["reverse"]}), store, tmp_path / "chest")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["create", "list", "show", "fund", "cancel"])
def test_an_endpoint_that_does_not_answer_is_named_by_every_command(refuse, config_file, wallet, tmp_path, command):
    task = "0x" + "11" * 20
    arguments = {
        "create": [config_file, "--store", tmp_path / "blobs", "--wallet", wallet, "--dev-token"],
        "list": ["--factory", task],
        "show": [task],
        "fund": [task, "1", "--wallet", wallet],
        "cancel": [task, "--wallet", wallet],
    }[command]
    assert f"{NOBODY} cannot be connected to; check the URL" in refuse("task", command, *arguments, "--rpc", NOBODY)


# --- On a chain ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def anvil():
    with start_anvil(block_time=None) as anvil:
        yield anvil


@pytest.fixture
def rich(anvil, wallet):
    """A wallet that can pay gas."""
    anvil.fund(open_wallet(wallet, PASSWORD).address)
    return wallet


@pytest.fixture
def created(call, anvil, rich, config_file, tmp_path):
    """A funded task of play money, as the command describes it."""
    where = ["--rpc", anvil.url, "--store", tmp_path / "blobs", "--wallet", rich]
    options = ["--dev-token", "--fund", "100", "--title", "A title", "--json"]
    code, out, err = call("task", "create", config_file, *where, *options)
    assert (code, err) == (0, "")
    return json.loads(out)


class TestOnAChain:
    pytestmark = needs_anvil

    def test_a_task_is_created_shown_listed_and_audited(self, call, anvil, created, tmp_path):
        where = ["--rpc", anvil.url, "--store", tmp_path / "blobs"]
        shown = json.loads(call("task", "show", created["task"], *where, "--json")[1])
        assert (shown["title"], shown["domains"], shown["phase"]) == ("A title", ["reverse", "shift"], "gather")
        assert (shown["pool"], shown["round"], shown["rounds"]) == (100 * TOKEN, 1, 2)
        assert shown["rules"]["tolerance"] == 2000
        listed = json.loads(call("task", "list", "--rpc", anvil.url, "--factory", created["factory"], "--json")[1])
        assert [(task["task"], task["pool"]) for task in listed] == [(created["task"], 100 * TOKEN)]
        code, out, _ = call("audit", "--task", created["task"], *where)
        assert (code, "clean so far" in out) == (0, True)
        assert f"openflock node run --task {created['task']}" in created["join"]

    def test_play_money_is_sent_to_who_has_none(self, call, refuse, anvil, rich, created):
        friend = "0x" + "22" * 20
        where = ["--token", created["token"], "--rpc", anvil.url]
        code, out, _ = call("wallet", "send", rich, friend, "12.5", *where)
        assert (code, out) == (0, f"sent 12.5 tokens to {friend}\n")
        token = get_contract(Web3(HTTPProvider(anvil.url)), "Token", created["token"])
        assert token.functions.balanceOf(Web3.to_checksum_address(friend)).call() == 25 * TOKEN // 2
        assert "less than 1e+09" in refuse("wallet", "send", rich, friend, "1000000000", *where)
        assert "not an address" in refuse("wallet", "send", rich, "0x12", "1", *where)
        assert "no ERC-20 token" in refuse("wallet", "send", rich, friend, "1", "--token", created["task"], *where[2:])

    def test_a_task_s_model_is_exported_and_talked_to_by_who_knows_chain_and_store(
        self, call, refuse, anvil, created, tmp_path
    ):
        where = ["--task", created["task"], "--rpc", anvil.url, "--store", tmp_path / "blobs"]
        code, out, _ = call("export", tmp_path / "adapter", *where)
        assert (code, "after 0 accepted steps" in out) == (0, True)
        config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        assert (config["r"], Path(config["base_model_name_or_path"]).is_dir()) == (2, True)
        assert "not compared" in call("export", tmp_path / "named", *where, "--base", "owner/name")[1]
        named = json.loads((tmp_path / "named" / "adapter_config.json").read_text())
        assert named["base_model_name_or_path"] == "owner/name"
        code, out, _ = call("chat", *where, "--say", "Reverse: flock", "--tokens", "4")
        assert (code, bool(out.strip())) == (0, True)
        assert "no such directory" in refuse("export", tmp_path / "other", *where[:-1], tmp_path / "none")
        (tmp_path / "empty").mkdir()
        assert "empty" in refuse("export", tmp_path / "other", *where[:-1], tmp_path / "empty")
        assert not (tmp_path / "other").exists()

    def test_a_task_reads_in_words(self, call, anvil, created, tmp_path):
        code, out, _ = call("task", "show", created["task"], "--rpc", anvil.url)
        assert code == 0
        for word in ("gather", "left", "rounds", "2, each with 3 nodes or more", "nobody has joined", "weak: "):
            assert word in out
        assert created["task"] in call("task", "list", "--rpc", anvil.url, "--factory", created["factory"])[1]

    def test_the_next_task_can_have_the_same_factory_and_token(self, call, anvil, rich, created, config_file, tmp_path):
        where = ["--rpc", anvil.url, "--store", tmp_path / "blobs", "--wallet", rich, "--json"]
        options = ["--factory", created["factory"], "--token", created["token"], "--set", "seed=9"]
        second = json.loads(call("task", "create", config_file, *where, *options)[1])
        assert second["factory"] == created["factory"]
        listed = json.loads(call("task", "list", "--rpc", anvil.url, "--factory", created["factory"], "--json")[1])
        assert [task["task"] for task in listed] == [created["task"], second["task"]]

    def test_who_creates_a_task_reads_where_its_committee_is_weak_and_how_others_join(
        self, call, anvil, rich, created, config_file, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("OPENFLOCK_RPC", anvil.url)
        options = ["--factory", created["factory"], "--token", created["token"], "--set", "rules.voter_seats=3"]
        code, out, _ = call("task", "create", config_file, "--store", tmp_path / "blobs", "--wallet", rich, *options)
        assert code == 0
        assert "weak: voter_seats = 3: 30 % of the stake gets half of the votes" in " ".join(out.split())
        assert "to take part, DOMAIN one of reverse, shift:" in out
        assert "\nopenflock node run --task 0x" in out

    def test_a_member_is_shown_with_its_stake_and_domain(self, call, anvil, rich, created, tmp_path):
        creator = open_wallet(rich, PASSWORD)
        me = creator.address.lower()
        EvmLedger(Web3(HTTPProvider(anvil.url)), created["task"], {me: creator}).submit(Join(me, 1, 60 * TOKEN))
        where = ["--rpc", anvil.url, "--store", tmp_path / "blobs"]
        (member,) = json.loads(call("task", "show", created["task"], *where, "--json")[1])["nodes"]
        assert (member["node"], member["stake"], member["domain"]) == (me, 60 * TOKEN, "shift")
        assert member["is_member"]
        assert "60.00" in call("task", "show", created["task"], *where)[1]
        has = json.loads(call("wallet", "show", rich, "--rpc", anvil.url, "--task", created["task"], "--json")[1])
        assert (has["stake"], has["is_node"], has["owed"]) == (60 * TOKEN, True, 0)

    def test_funding_adds_to_the_pool(self, call, anvil, rich, created):
        code, out, _ = call("task", "fund", created["task"], "12.5", "--rpc", anvil.url, "--wallet", rich)
        assert (code, "added 12.5 tokens" in out) == (0, True)
        shown = json.loads(call("task", "show", created["task"], "--rpc", anvil.url, "--json")[1])
        assert shown["pool"] == 225 * TOKEN // 2

    def test_more_than_the_wallet_holds_is_refused(self, refuse, anvil, rich, created):
        line = refuse("task", "fund", created["task"], "1e9", "--rpc", anvil.url, "--wallet", rich)
        assert "less than 1e+09" in line

    def test_only_the_creator_cancels_and_gets_the_pool_back(self, call, refuse, anvil, rich, created, tmp_path):
        create_wallet(tmp_path / "other", PASSWORD, 2)
        cancel = ["task", "cancel", created["task"], "--rpc", anvil.url, "--yes", "--wallet"]
        assert "only its creator" in refuse(*cancel, tmp_path / "other")
        code, out, _ = call(*cancel, rich)
        assert code == 0
        assert "100.00 tokens of its pool come back to you" in out
        assert "7 days later" in out
        assert "100.00 tokens came back" in out
        assert "it is over, or cancelled already" in refuse(*cancel, rich)

    def test_a_wallet_without_gas_is_told_so(self, refuse, anvil, created, tmp_path):
        create_wallet(tmp_path / "poor", PASSWORD, 2)
        options = ["--rpc", anvil.url, "--wallet", tmp_path / "poor"]
        assert "has no gas on chain" in refuse("task", "fund", created["task"], "1", *options)

    def test_addresses_that_are_none_and_contracts_that_are_others_are_named(self, refuse, anvil, rich, created):
        rpc = ["--rpc", anvil.url]
        assert "not an address" in refuse("task", "show", "0x12", *rpc)
        assert "no contract at this address" in refuse("task", "show", "0x" + "11" * 20, *rpc)
        assert "is no task" in refuse("task", "show", created["token"], *rpc)
        assert "is no factory" in refuse("task", "list", "--factory", created["task"], *rpc)

    def test_a_wrong_password_is_refused_before_anything_is_sent(self, refuse, anvil, rich, created, monkeypatch):
        monkeypatch.setenv("OPENFLOCK_PASSWORD", "wrong")
        options = ["--rpc", anvil.url, "--wallet", rich]
        assert "wrong password" in refuse("task", "fund", created["task"], "1", *options)

    def test_an_audit_of_a_store_that_does_not_answer_is_no_difference(self, refuse, anvil, created):
        line = refuse("audit", "--task", created["task"], "--rpc", anvil.url, "--store", f"{NOBODY}/blobs")
        assert "audit failed" not in line

    def test_an_audit_of_another_store_says_what_is_missing(self, call, anvil, created, tmp_path):
        (tmp_path / "empty").mkdir()
        code, out, _ = call("audit", "--task", created["task"], "--rpc", anvil.url, "--store", tmp_path / "empty")
        assert code == 1
        assert "genesis: blob" in out

    def test_rules_read_in_words_and_weak_ones_are_named(self, anvil, created):
        task = Web3(HTTPProvider(anvil.url))
        rules: Rules = EvmLedger(task, created["task"], {}).get_genesis().rules
        words = dict(describe_rules(rules))
        assert "more than 20 %" in words["judging"]
        assert any("min_nodes" in weakness for weakness in list_weaknesses(rules, ()))
        assert not any("domain_quorum" in weakness for weakness in list_weaknesses(rules, ()))
        easy = replace(rules, domain_quorum=3_333)
        assert any("domain_quorum = 3333" in weakness for weakness in list_weaknesses(easy, ()))
        assert any("2 nodes a domain" in weakness for weakness in list_weaknesses(rules, (), 2))
