"""Fear: a hostile creator's rules or job take a node's memory, disk, stake or commands before it notices."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import openflock
from openflock.app.bases import find_base
from openflock.app.node import preflight
from openflock.app.node.settings import NodeConfig
from openflock.app.settings import SettingsError
from openflock.edge.blobs import DirectoryStore
from openflock.learn.base import BaseError
from openflock.protocol.encoding import to_json
from openflock.protocol.job import MAX_JOB_SIZE, BadJob, Job, decode_job, encode_job
from openflock.protocol.ports import BlobCorrupt
from openflock.protocol.rules import BadRules

from ..protocol.helpers import make_digest, make_rules

BASE = Path(openflock.__file__).parent / "assets/base"
JOB = Job("test", "built-in", ("all-linear",), 2, 8, b"seed", ("reverse", "shift", "third"), 64)


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "blobs")


def list_problems(job, tmp_path, **rules):
    return list(preflight.check_machine(BASE, job, NodeConfig(), tmp_path, make_rules(**rules)))


def test_a_task_of_the_usual_size_fits(tmp_path):
    assert list_problems(JOB, tmp_path) == []


@pytest.mark.parametrize("rank", [10**6, 10**9, 2**200])
def test_a_rank_that_no_memory_holds_is_refused_before_anything_is_loaded(tmp_path, rank):
    memory, disk = list_problems(replace(JOB, rank=rank), tmp_path, max_size=2**40 - 1)
    assert memory.startswith("memory: about ")
    assert disk.startswith("disk: about ")


def test_a_job_larger_than_any_job_is_not_read(store):
    digest = store.put(b" " * (MAX_JOB_SIZE + 1))
    with pytest.raises(BlobCorrupt, match="larger than"):
        preflight.fetch_job(store, make_rules(job=digest))


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"[" * 200_000,
        b'{"title": ' + b"9" * 5000 + b"}",
        b"null",
        encode_job(JOB).replace(b'"rank":2', b'"rank":"2"'),
        encode_job(JOB).replace(b'"rank":2', b'"rank":NaN'),
        encode_job(JOB)[:-1] + b',"command":"rm -rf /"}',
    ],
    ids=["empty", "nested", "a number of 5,000 digits", "null", "rank in words", "no number", "more than a job"],
)
def test_what_is_no_job_is_refused_in_one_line(store, blob):
    with pytest.raises(BadJob, match="not a job") as refused:
        preflight.fetch_job(store, make_rules(job=store.put(blob)))
    assert len(str(refused.value)) < 1000


def test_a_job_of_other_domains_than_the_rules_is_refused(store):
    with pytest.raises(SettingsError, match="names 3 domains, the rules 2"):
        preflight.fetch_job(store, make_rules(job=store.put(encode_job(JOB)), domains=2))


@pytest.mark.parametrize("base", ["/etc", "../../../../etc", "/dev/zero", "file:///etc/passwd", "$(reboot)"])
def test_a_base_that_is_no_model_is_refused_and_nothing_of_it_runs(base):
    """What a job names is a directory or a hub id; its bytes must be the ones that the rules name."""
    with pytest.raises((SettingsError, BaseError, OSError)):
        find_base(None, replace(JOB, base=base), make_rules())


def test_a_base_of_other_bytes_than_the_rules_name_is_refused():
    with pytest.raises(SettingsError, match="the task's are"):
        find_base(None, JOB, make_rules(base=make_digest("another")))


@pytest.mark.parametrize(
    "rules",
    [
        {"max_size": 2**40},
        {"rounds": 10**9},
        {"unbonding": 100 * 365 * 86_400},
        {"attest": 365 * 86_400},
        {"fee_cap": 10**6},
        {"witness_bond": 2**90},
        {"bounty_share": 9_000},
    ],
    ids=str,
)
def test_rules_that_would_keep_or_take_what_no_task_may_are_no_rules(rules):
    with pytest.raises(BadRules, match="rules: "):
        make_rules(**rules)


def test_a_job_is_data_and_holds_no_code():
    assert decode_job(json.dumps(to_json(JOB)).encode()) == JOB
