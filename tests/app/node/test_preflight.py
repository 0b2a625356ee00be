from collections import namedtuple
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.app.bases import find_base, locate_base
from openflock.app.node import preflight
from openflock.app.node.ground import choose_stake
from openflock.app.node.preflight import NotReady, Survey
from openflock.app.node.settings import NodeConfig, load_node_config
from openflock.app.settings import BUILT_IN, SettingsError
from openflock.edge.blobs import DirectoryStore
from openflock.learn.data import DataError, Row
from openflock.protocol.job import BadJob, Job, encode_job
from openflock.protocol.ports import Unreachable
from openflock.protocol.recipe import Recipe
from openflock.protocol.types import Phase

from ...protocol.helpers import OUTSIDER, PROPOSER, make_ledger, make_rules, play_round

DOMAINS = ("law", "medicine", "math")
JOB = Job("a job", BUILT_IN, ("all-linear",), 2, 8, b"seed", DOMAINS, 64)
ETHER = 10**18


def make_rows(count):
    return [Row((("user", f"question {number}"),), f"answer {number}") for number in range(count)]


# --- The survey ----------------------------------------------------------------------------------------------


def test_a_survey_goes_on_after_a_failure_and_tells_all_at_once():
    look = Survey()

    def fail():
        raise SettingsError("first: mend it")

    assert look.get(fail) is None
    assert look.get(lambda: 7) == 7
    look.note(iter(["second: mend it too"]))
    with pytest.raises(NotReady) as caught:
        look.conclude()
    assert list(caught.value.problems) == ["first: mend it", "second: mend it too"]


def test_a_fault_of_the_program_is_no_finding():
    with pytest.raises(RuntimeError):
        Survey().get(lambda: (_ for _ in ()).throw(RuntimeError("a bug")))


def test_what_does_not_answer_is_a_finding():
    look = Survey()
    look.get(lambda: (_ for _ in ()).throw(Unreachable("nobody answers")))
    assert look.problems == ["nobody answers"]


# --- Rows ----------------------------------------------------------------------------------------------------


@given(st.integers(2, 60), st.integers(1, 50))
def test_no_row_is_both_trained_on_and_judged_with(count, wanted):
    rows = make_rows(count)
    train, held_out = preflight.split_rows(rows + rows[:1], wanted, "rows.jsonl")
    assert not set(train) & set(held_out)
    assert set(train) | set(held_out) == set(rows)
    assert len(held_out) <= min(wanted, (count + 1) // 2)


@given(st.integers(20, 60), st.integers(1, 30))
def test_rows_that_come_later_are_trained_on(count, more):
    before = preflight.split_rows(make_rows(count), 8, "rows.jsonl")
    after = preflight.split_rows(make_rows(count + more), 8, "rows.jsonl")
    assert after[1] == before[1]


@pytest.mark.parametrize("rows", [make_rows(1), make_rows(1) * 5])
def test_too_few_rows_are_refused(rows):
    with pytest.raises(DataError, match=r"rows\.jsonl: too few different rows; give"):
        preflight.split_rows(rows, 8, "rows.jsonl")


# --- Domain, base and job ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "data", "found"),
    [
        ("medicine", "law/train.jsonl", 1),
        (None, "law/train.jsonl", 0),
        (None, "math.jsonl", 2),
        (None, "mine/medicine/all.jsonl", 1),
    ],
)
def test_a_domain_is_the_one_named_or_the_one_that_the_place_names(tmp_path, domain, data, found):
    assert preflight.choose_domain(domain, tmp_path / data, JOB) == found


def test_where_there_is_one_domain_it_need_not_be_named(tmp_path):
    assert preflight.choose_domain(None, tmp_path / "rows.jsonl", replace(JOB, domains=("law",))) == 0


@pytest.mark.parametrize("domain", [None, "cooking"])
def test_a_domain_that_is_unknown_is_asked_for(tmp_path, domain):
    with pytest.raises(SettingsError, match=r"--domain.*law, medicine, math"):
        preflight.choose_domain(domain, tmp_path / "rows.jsonl", JOB)


def test_another_base_than_the_tasks_is_refused():
    with pytest.raises(SettingsError, match=r"base built-in: its files are .* give the right ones with --base"):
        find_base(None, JOB, make_rules())


def test_a_job_is_fetched_and_must_agree_with_the_rules(tmp_path):
    store = DirectoryStore(tmp_path)
    digest = store.put(encode_job(JOB))
    assert preflight.fetch_job(store, make_rules(job=digest, domains=3)) == JOB
    with pytest.raises(SettingsError, match="names 3 domains, the rules 2"):
        preflight.fetch_job(store, make_rules(job=digest, domains=2))
    digest = store.put(encode_job(replace(JOB, sealed=(b"short",))))
    with pytest.raises(BadJob, match="must be 32 bytes"):
        preflight.fetch_job(store, make_rules(job=digest, domains=3))
    with pytest.raises(SettingsError, match="--store: the task's job is not there"):
        preflight.fetch_job(store, make_rules())


def test_a_chest_must_hold_the_rows_of_every_round(tmp_path):
    chest, store = DirectoryStore(tmp_path / "chest"), DirectoryStore(tmp_path / "blobs")
    sealed = tuple(chest.put(rows) for rows in (b"first", b"second"))
    job = replace(JOB, sealed=sealed)
    assert preflight.list_openings(None, job, store) == []
    (unsealer,) = preflight.list_openings(tmp_path / "chest", job, store)
    assert unsealer.digests == sealed
    with pytest.raises(SettingsError, match="--chest: this task has no sealed rows"):
        preflight.list_openings(tmp_path / "chest", JOB, store)
    with pytest.raises(SettingsError, match="is the store, where all look"):
        preflight.list_openings(tmp_path / "blobs", job, store)
    with pytest.raises(SettingsError, match="nowhere: no such directory"):
        preflight.list_openings(tmp_path / "nowhere", job, store)
    chest.locate(sealed[1]).unlink()
    with pytest.raises(SettingsError, match="lacks the rows of round 2; give the one that the task was created with"):
        preflight.list_openings(tmp_path / "chest", job, store)


def test_a_state_that_does_not_follow_from_the_job_is_a_reason_not_to_join():
    rules = make_rules()
    assert list(preflight.check_initial_state(rules.genesis, rules)) == []
    assert "do not join" in next(preflight.check_initial_state(bytes(32), rules))


# --- The task, and money -------------------------------------------------------------------------------------


def test_a_task_that_is_over_is_only_for_who_has_something_in_it():
    ledger = play_round(make_ledger(rounds=1))
    assert ledger.state.phase == Phase.FINISHED
    assert list(preflight.check_standing(ledger.state, PROPOSER)) == []
    assert "it is over; choose another" in next(preflight.check_standing(ledger.state, OUTSIDER))
    assert list(preflight.check_standing(make_ledger().state, OUTSIDER)) == []


class Eth:
    """What a wallet holds, and what gas costs."""

    def __init__(self, balance=ETHER, blocks=((0, 0), (1, 0))):
        self.balance, self.gas_price, self.blocks = balance, 10**9, blocks

    def get_balance(self, _address):
        return self.balance

    def get_block(self, which):
        number, time = self.blocks[-1 if which == "latest" else which]
        return {"number": number, "timestamp": time}


Web3 = namedtuple("Web3", "eth")
STATE = make_ledger().state


@pytest.mark.parametrize(
    ("me", "balance", "bond", "ether", "problems"),
    [
        (OUTSIDER, 2000, 0, ETHER, []),
        (OUTSIDER, 1999, 0, ETHER, ["send it tokens or stake less"]),
        (PROPOSER, 0, 0, ETHER, []),  # staked already
        (OUTSIDER, 2005, 5, ETHER, []),
        (OUTSIDER, 2004, 5, ETHER, ["beside the stake; send it tokens, or set probe = false"]),
        (PROPOSER, 5, 5, ETHER, []),
        (PROPOSER, 4, 5, ETHER, ["beside the stake; send it tokens, or set probe = false"]),
        (OUTSIDER, 2000, 0, 0, ["the gas of 3 rounds costs about 0.007500; send it some"]),
        (OUTSIDER, 0, 0, 7 * 10**15, ["send it tokens", "send it some"]),
    ],
)
def test_a_wallet_must_be_able_to_pay_stake_bond_and_gas(me, balance, bond, ether, problems):
    found = list(preflight.check_balances(Web3(Eth(ether)), STATE, me, balance, 2000, bond))
    assert len(found) == len(problems)
    assert all(wanted in line for wanted, line in zip(problems, found, strict=True))


@pytest.mark.parametrize("me", [OUTSIDER, PROPOSER])
def test_where_the_task_is_over_nobody_needs_tokens_to_take_what_is_theirs(me):
    assert list(preflight.check_balances(Web3(Eth(ETHER)), replace(STATE, phase=Phase.FINISHED), me, 0, 2000, 5)) == []


def test_a_stake_is_at_least_the_minimum_and_twice_that_if_not_said():
    assert "stake 0.00 or more" in next(preflight.check_stake(STATE, OUTSIDER, 999))
    assert list(preflight.check_stake(STATE, OUTSIDER, 1000)) == []
    assert list(preflight.check_stake(STATE, PROPOSER, 1)) == []
    assert choose_stake("2.5", None) == 25 * 10**17
    assert choose_stake(None, namedtuple("Chain", "state")(STATE)) == 2000


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ((940, 999), None),
        ((999, 1029), None),
        ((999, 1031), "31 s behind the newest block"),
        ((965, 969), "the newest block is 31 s old"),
        ((940, 952), None),  # a slow chain
        ((800, 830), "the newest block is 170 s old"),
    ],
)
def test_a_clock_that_is_off_by_half_a_minute_is_found(monkeypatch, times, fault):
    monkeypatch.setattr(preflight.wall, "time", lambda: 1000.0)
    found = list(preflight.check_clock(Web3(Eth(blocks=tuple(enumerate(times))))))
    assert (found == []) if fault is None else (len(found) == 1 and fault in found[0])


# --- This machine --------------------------------------------------------------------------------------------


def test_memory_and_disk_are_compared_with_what_base_and_adapter_need(monkeypatch, tmp_path):
    base = locate_base(BUILT_IN)
    weights, numbers = preflight.measure_base(base, 2)
    assert 0 < numbers < weights
    examine = lambda: list(preflight.check_machine(base, JOB, NodeConfig(), tmp_path, make_rules()))  # noqa: E731
    assert examine() == []
    monkeypatch.setattr(preflight, "read_free_memory", lambda: 10**6)
    usage = namedtuple("Usage", "free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage(10**6))
    memory, disk = examine()
    assert "memory: about 0.3 GiB are needed" in memory
    assert "choose another --dir" in disk


@pytest.mark.parametrize(("memory", "rounds"), [(0, 3), (3, 3), (8, 8)])
def test_who_comes_new_needs_room_for_all_that_a_merge_is_compared_with(monkeypatch, tmp_path, memory, rounds):
    rules = make_rules(max_size=2**20)
    job = replace(JOB, rank=2**14, recipe=Recipe(mixing=True, faulty=400, clip=1000, memory=memory))
    room = 2**20 * rules.proposer_seats * rounds
    monkeypatch.setattr(preflight, "SPARE", 0)
    monkeypatch.setattr(preflight, "CHUNK_STATES", 0)
    usage = namedtuple("Usage", "free")
    examine = lambda: list(preflight.check_machine(locate_base(BUILT_IN), job, NodeConfig(), tmp_path, rules))  # noqa: E731
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage(room))
    assert examine() == []
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage(room - 1))
    assert [line.split(":")[0] for line in examine()] == ["disk"]


def test_free_memory_is_read_from_this_machine():
    assert preflight.read_free_memory() > 2**20


# --- This model ----------------------------------------------------------------------------------------------


def test_an_update_that_the_rules_do_not_let_pass_is_no_task_to_join():
    rules = make_rules(max_size=1000)
    assert list(preflight.check_updates(1000, JOB.rank, JOB, rules)) == []
    large, wide = preflight.check_updates(1001, JOB.rank + 1, JOB, rules)
    assert "updates of 1,000 bytes, this adapter's take 1,001" in large
    assert f"over the task's {JOB.rank}" in wide


class Picky:
    """A tokenizer whose template refuses some texts."""

    chat_template, eos_token_id = "x", 3

    def apply_chat_template(self, turns, **_):
        if turns[0]["content"] == "no":
            raise ValueError("roles must alternate")
        return {"input_ids": [1] * len(turns)}


def test_rows_that_the_template_refuses_are_counted():
    rows = [Row((("user", word),), "yes") for word in ("yes", "no", "yes", "no")]
    assert list(preflight.check_rows(Picky(), rows[:1], 64)) == []
    (found,) = preflight.check_rows(Picky(), rows, 64)
    assert "refuses 2 of 4 rows, the first of them row 2, copies" in found


# --- Settings ------------------------------------------------------------------------------------------------


def test_a_nodes_settings_have_defaults_and_refuse_what_is_unknown(tmp_path):
    assert load_node_config(None) == NodeConfig()
    file = tmp_path / "node.toml"
    file.write_text('device = "cuda"\n[train]\nsteps = 7\n')
    assert (load_node_config(file).device, load_node_config(file).train.steps) == ("cuda", 7)
    file.write_text("[train]\nstep = 7\n")
    with pytest.raises(SettingsError, match=r"node\.toml: train\.step: extra inputs"):
        load_node_config(file)
