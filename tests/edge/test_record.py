import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.edge.record import START, BadRecord, Recorder, compute_link, describe_entry, parse_entry, read_record
from openflock.protocol.calls import LOG_TYPES, Advance
from openflock.protocol.ports import Entry

from ..protocol.helpers import OUTSIDER, make_genesis, make_ledger, play_round
from .strategies import draw_item, entries

GENESIS = make_genesis()


@pytest.fixture(scope="module")
def log():
    return list(play_round(make_ledger()).read(0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def write(path, log, genesis=GENESIS):
    recorder = Recorder(path, genesis)
    recorder.append(log)
    recorder.close()
    return recorder


# --- Lines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOG_TYPES)
def test_every_call_and_event_comes_back_from_its_line(name):
    @given(draw_item(LOG_TYPES[name]))
    def check(item):
        entry = Entry(5, 7, item)
        fields = json.loads(json.dumps(describe_entry(entry)))
        assert parse_entry(fields) == entry
        assert type(parse_entry(fields).item) is LOG_TYPES[name]

    check()


@given(st.lists(entries, max_size=5))
def test_any_log_comes_back_from_its_file(tmp_path_factory, log):
    path = tmp_path_factory.mktemp("log") / "events.jsonl"
    recorder = write(path, log)
    genesis, found, links = read_record(path)
    assert (genesis, found) == (GENESIS, log)
    assert (len(links), links[-1]) == (recorder.count, recorder.link)


IMPOSSIBLE = [
    {"sender": "nobody"},
    {"sender": OUTSIDER.upper()},
    {"sender": 5},
    {"domain": -1},
    {"domain": 2**256},
    {"domain": True},
    {"domain": 1.0},
    {"amount": None},
    {"more": 1},
]


@pytest.mark.parametrize("change", IMPOSSIBLE, ids=str)
def test_values_that_no_contract_logs_are_refused_by_line(path, log, change):
    write(path, log)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    at = next(i for i, line in enumerate(lines) if line["name"] == "Joined")
    lines[at]["args"] |= change
    forge(path, lines)
    with pytest.raises(BadRecord, match=rf"events.jsonl:{at + 1}: not an entry"):
        read_record(path)


@pytest.mark.parametrize(("name", "field", "value"), [
    ("Revealed", "ballot", -1), ("Revealed", "ballot", 2**256), ("Revealed", "salt", "00"), ("Revealed", "salt", "xy"),
    ("Committed", "act", 9), ("Committed", "commitment", "00" * 33), ("Drawn", "voters", ["me"]),
    ("Drawn", "voters", 3), ("Settled", "outcome", "MERGED"), ("Entered", "phase", 13),
])  # fmt: skip
def test_impossible_fields_are_refused_by_line(path, log, name, field, value):
    write(path, log)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    at = next(i for i, line in enumerate(lines) if line["name"] == name)
    lines[at]["args"][field] = value
    forge(path, lines)
    with pytest.raises(BadRecord, match=rf"events.jsonl:{at + 1}: not an entry"):
        read_record(path)


def forge(path, lines):
    """Write lines with all links computed anew, as a forger would."""
    link = START
    for line in lines:
        line.pop("link", None)
        link = compute_link(line, link)
        line["link"] = link
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


# --- What a reader notices -----------------------------------------------------------------------------------


def spoil(path, change):
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))


def test_a_changed_byte_anywhere_in_a_line_names_that_line(path, log):
    write(path, log)
    original = path.read_bytes()
    lines = original.splitlines(keepends=True)
    for number in (1, 2, len(lines) // 2, len(lines)):
        start = sum(map(len, lines[: number - 1]))
        for offset in range(0, len(lines[number - 1]) - 1, 37):
            spoiled = bytearray(original)
            spoiled[start + offset] ^= 1
            path.write_bytes(spoiled)
            with pytest.raises(BadRecord, match=rf"events.jsonl:{number}(: |$)"):
                read_record(path)


def test_a_dropped_line_breaks_the_next(path, log):
    write(path, log)
    spoil(path, lambda lines: lines.pop(9))
    with pytest.raises(BadRecord, match=r"events.jsonl:10: the hash chain breaks"):
        read_record(path)


def test_two_lines_in_another_order_break_the_first_of_them(path, log):
    write(path, log)
    spoil(path, lambda lines: lines.insert(8, lines.pop(9)))
    with pytest.raises(BadRecord, match=r"events.jsonl:9: the hash chain breaks"):
        read_record(path)


def test_a_repeated_line_is_noticed(path, log):
    write(path, log)
    spoil(path, lambda lines: lines.insert(8, lines[7]))
    with pytest.raises(BadRecord, match=r"events.jsonl:9: the hash chain breaks"):
        read_record(path)


@pytest.mark.parametrize(
    "line",
    [b"\n", b"garbage\n", b"[]\n", b"[1]\n", b"3\n", b'"link"\n', b"{}\n", b"\xff\n", b"[" * 9_000 + b"\n",
     b"[" * 90_000 + b"\n", b'{"link":' + b"9" * 5000 + b"}\n"],
    ids=lambda line: repr(line[:12]),
)  # fmt: skip
def test_a_line_that_is_none_is_named(path, log, line):
    write(path, log)
    spoil(path, lambda lines: lines.insert(4, line))
    with pytest.raises(BadRecord, match=r"events.jsonl:5: "):
        read_record(path)


@pytest.mark.parametrize("text", ["", '{"name": "Advanced"}\n'])
def test_a_file_without_genesis_is_none(path, text):
    path.write_text(text)
    with pytest.raises(BadRecord, match=r"events.jsonl:1: "):
        read_record(path)


def test_a_forged_genesis_that_cannot_work_is_named(path, log):
    write(path, log)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["args"]["rules"]["vote"] = 0
    forge(path, lines)
    with pytest.raises(BadRecord, match=r"events.jsonl:1: not a genesis: rules: vote must last"):
        read_record(path)


# --- Going through a file again ------------------------------------------------------------------------------


def test_a_second_run_compares_and_then_goes_on(path, log):
    write(path, log[:20])
    before = path.read_bytes()
    again = Recorder(path, GENESIS)
    for entry in log:
        again.append([entry])
    again.close()
    assert path.read_bytes().startswith(before)
    assert read_record(path)[1] == log


def test_a_run_that_continues_otherwise_is_refused_at_the_line(path, log):
    write(path, log)
    again = Recorder(path, GENESIS)
    again.append(log[:5])
    with pytest.raises(BadRecord, match=re.escape(f"{path}:7: this run continues otherwise; choose another --out")):
        again.append([replace(log[5], time=log[5].time + 1)])
    again.close()
    assert read_record(path)[1] == log


def test_another_tasks_file_is_refused(path, log):
    write(path, log)
    with pytest.raises(BadRecord, match=re.escape(f"{path}:1: this run continues otherwise")):
        Recorder(path, make_genesis(rounds=9))
    assert read_record(path)[1] == log


def test_every_torn_end_is_dropped_and_written_again(path, log):
    log = log[:6]
    write(path, log)
    whole = path.read_bytes()
    for length in range(0, len(whole), 41):
        path.write_bytes(whole[:length])
        write(path, log)
        assert path.read_bytes() == whole


def test_a_changed_line_within_is_never_taken_for_a_torn_end(path, log):
    write(path, log)
    spoil(path, lambda lines: lines.__setitem__(3, lines[3].replace(b"Joined", b"joined")))
    with pytest.raises(BadRecord, match=r"events.jsonl:4"):
        Recorder(path, GENESIS)


# A limit on the size of a file stands for the full disk. What failed must not show up later, at close or exit.
FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from openflock.edge.record import Recorder, read_record
from tests.protocol.helpers import make_genesis, make_ledger, play_round
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, log = Path(sys.argv[1]), list(play_round(make_ledger()).read(0))
recorder = Recorder(path, make_genesis())
recorder.append(log[:5])
before = path.read_bytes()
resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5000, resource.RLIM_INFINITY))
try:
    recorder.append(log[5:])
except OSError as error:
    print(error.errno, path.read_bytes() == before)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if sys.argv[2] == "again":
    recorder.append(log[5:])
recorder.close()
print(len(read_record(path)[1]) == (len(log) if sys.argv[2] == "again" else 5))
"""


@pytest.mark.parametrize("then", ["close", "again"])
def test_a_disk_that_fills_up_leaves_only_whole_calls(path, then, pytestconfig):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path, then],
        cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.split() == ["27", "True", "True"]


def test_a_call_is_on_the_disk_when_append_returns(path, log):
    recorder = Recorder(path, GENESIS)
    recorder.append(log[:1])
    assert path.stat().st_size > 0
    assert read_record(path)[1] == log[:1]
    recorder.append([Entry(1, 1, Advance(OUTSIDER))])
    assert len(read_record(path)[1]) == 2
    recorder.close()
