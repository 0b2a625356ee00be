"""Spoil a real run in every way that a forger might, and have the audit name it."""

import json
import logging
import shutil
from hashlib import sha256
from io import StringIO

import pytest
from rich.console import Console
from safetensors.numpy import load_file, save_file

from openflock.app.auditing import run_audit
from openflock.app.rundir import RunDirectory
from openflock.app.settings import parse_config
from openflock.app.simulate import simulate
from openflock.edge.record import START, compute_link

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
CONFIG = {
    "domains": ["reverse", "shift"], "nodes_per_domain": 3, "max_length": 64, "ledger": "spec", "rank": 2, "alpha": 8,
    "train": {"steps": 2, "batch_size": 4}, "rows": {"train": 16, "held_out": 8, "report": 4},
    # A ceiling that the attack passes in both rounds: in the second B is still small, and so is what A does.
    "rules": {"rounds": 2, "tolerance": 2000, "norm_ceiling": 2**19}, "attackers": [{"domain": "shift", "scale": 3000}],
}  # fmt: skip


def run(path, **changes):
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    simulate(parse_config(CONFIG | changes), path, Console(quiet=True))
    return path


@pytest.fixture(scope="session")
def honest(tmp_path_factory):
    return run(tmp_path_factory.mktemp("audit") / "run")


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """Another task of the same nodes, job and initial state: only its pool is another."""
    return run(tmp_path_factory.mktemp("audit") / "other", pool=999)


@pytest.fixture
def forged(honest, tmp_path):
    return shutil.copytree(honest, tmp_path / "run")


def audit(path):
    """The first difference, empty if there is none."""
    printed = StringIO()
    result = run_audit(RunDirectory(path), Console(file=printed, width=500))
    assert ("audit: clean" in printed.getvalue()) == result["clean"]
    assert result.get("difference", "") in printed.getvalue()
    return result.get("difference", "")


def read_lines(path):
    return [json.loads(line) for line in (path / "events.jsonl").read_text().splitlines()]


def write_lines(path, lines):
    (path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def forge(path, lines):
    """Write a log as a forger would: every link computed again, and the last put into run.json."""
    link = START
    for line in lines:
        line.pop("link", None)
        link = line["link"] = compute_link(line, link)
    write_lines(path, lines)
    edit(path, lambda run: run["events"].update(count=len(lines), link=link))


def edit(path, change):
    """Change run.json."""
    file = path / "run.json"
    written = json.loads(file.read_text())
    change(written)
    file.write_text(json.dumps(written))


def find(lines, name):
    return next(i for i, line in enumerate(lines) if line["name"] == name)


# --- Clean ---------------------------------------------------------------------------------------------------


def test_an_honest_run_is_clean_and_all_of_it_was_looked_at(honest):
    result = run_audit(RunDirectory(honest), Console(quiet=True))
    summary = json.loads((honest / "run.json").read_text())["summary"]
    assert result == {
        "clean": True, "entries": len(read_lines(honest)) - 1, "rounds": 2, "updates": 12, "merges": 2,
        "finished": True, "digest": summary["digest"],
    }  # fmt: skip


def test_the_run_holds_a_slash_for_an_inadmissible_update(honest):
    faults = [line["args"]["fault"] for line in read_lines(honest) if line["name"] == "Slashed"]
    assert faults == [3, 3]


def test_an_audit_changes_nothing(honest):
    def list_contents():
        return {file: file.read_bytes() for file in honest.rglob("*") if file.is_file()}

    before = list_contents()
    audit(honest)
    assert list_contents() == before


# --- Bytes ---------------------------------------------------------------------------------------------------


def test_one_changed_byte_of_any_blob_names_the_blob(forged):
    blobs = sorted((forged / "blobs").iterdir())
    assert len(blobs) >= 16
    for blob in blobs:
        good = blob.read_bytes()
        for at in (0, len(good) // 2, len(good) - 1):
            blob.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            assert f"blob {blob.name}" in audit(forged)
        blob.write_bytes(good)
    assert audit(forged) == ""


def test_any_lost_blob_is_named(forged):
    for blob in sorted((forged / "blobs").iterdir()):
        good = blob.read_bytes()
        blob.unlink()
        assert blob.name[:12] in audit(forged)
        blob.write_bytes(good)


def test_a_lost_folder_of_blobs_is_named(forged):
    shutil.rmtree(forged / "blobs")
    assert audit(forged) == "blobs is missing"


def test_an_update_swapped_for_another_of_the_same_name_is_named(forged):
    first, second = sorted((forged / "blobs").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    assert f"blob {first.name}" in audit(forged)


# --- The log -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Funded", "Joined", "Advanced", "Seeded", "Drawn", "Entered", "Committed", "Published", "Revealed", "Judged",
     "Slashed", "Credited", "Confirmed", "Settled"],
)  # fmt: skip
def test_a_dropped_line_is_named_whether_links_are_forged_or_not(forged, name):
    lines = read_lines(forged)
    at = find(lines, name)
    del lines[at]
    write_lines(forged, lines)
    assert audit(forged).startswith(f"events.jsonl:{at + 1}: the hash chain breaks")
    forge(forged, lines)
    assert audit(forged) != ""
    if name not in ("Seeded", "Funded", "Joined", "Advanced", "Committed", "Published", "Revealed", "Confirmed"):
        assert audit(forged).startswith(f"ledger: entry {at - 1}: the rules give {name}")


@pytest.mark.parametrize("cut", [1, 2, 50])
def test_a_cut_tail_shows(forged, cut):
    lines = read_lines(forged)
    write_lines(forged, lines[:-cut])
    assert audit(forged) == f"events.jsonl has {len(lines) - cut} lines, run.json says {len(lines)}"
    forge(forged, lines[:-cut])
    assert audit(forged) != ""


def test_a_tail_cut_by_a_forger_who_claims_that_the_task_goes_on_is_not_called_finished(forged):
    lines = read_lines(forged)
    forge(forged, lines[: find(lines, "Settled") + 1])
    edit(forged, lambda run: run.update(finished=False))
    assert audit(forged).startswith("ledger: ") or not run_audit(RunDirectory(forged), Console(quiet=True))["finished"]


def test_a_swapped_last_line_of_the_same_length_shows(forged):
    lines = read_lines(forged)
    lines[-1]["time"] += 1
    previous = lines[-2]["link"]
    lines[-1].pop("link")
    lines[-1]["link"] = compute_link(lines[-1], previous)
    write_lines(forged, lines)
    assert audit(forged) == f"events.jsonl:{len(lines)}: the last line is not the one that run.json names"


def test_one_altered_score_is_named_by_the_chain_or_else_by_its_commitment(forged):
    lines = read_lines(forged)
    at = find(lines, "Revealed")
    lines[at]["args"]["ballot"] += 1
    write_lines(forged, lines)
    assert audit(forged).startswith(f"events.jsonl:{at + 1}: the hash chain breaks")
    forge(forged, lines)
    assert audit(forged).startswith(f"ledger: entry {at - 1}: Reveal(")
    assert audit(forged).endswith("is refused: commitments: does not open")


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("Credited", "amount", 1), ("Slashed", "amount", 1), ("Slashed", "fault", 0), ("Judged", "verdict", 1),
        ("Judged", "benefit", 500), ("Settled", "digest", "00" * 32), ("Settled", "outcome", 1),
        ("Drawn", "budget", 7), ("Seeded", "seed", "11" * 32), ("Seeded", "blockhash", "11" * 32),
        ("Entered", "deadline", 0),
    ],
)  # fmt: skip
def test_an_altered_event_is_named_even_with_forged_links(forged, name, field, value):
    lines = read_lines(forged)
    at = next(i for i, line in enumerate(lines) if line["name"] == name and line["args"][field] != value)
    lines[at]["args"][field] = value
    write_lines(forged, lines)
    assert audit(forged).startswith(f"events.jsonl:{at + 1}: the hash chain breaks")
    forge(forged, lines)
    assert audit(forged).startswith(f"ledger: entry {at - 1}: the rules give {name}")


@pytest.mark.parametrize(("name", "field"), [
    ("Published", "digest"), ("Published", "salt"), ("Committed", "commitment"), ("Confirmed", "digest"),
    ("Joined", "amount"), ("Joined", "sender"), ("Funded", "amount"), ("Committed", "sender"),
])  # fmt: skip
def test_an_altered_call_never_passes(forged, name, field):
    lines = read_lines(forged)
    args = lines[find(lines, name)]["args"]
    value = args[field]
    args[field] = value + 1 if isinstance(value, int) else value[:-1] + ("0" if value[-1] != "0" else "1")
    forge(forged, lines)
    assert audit(forged).startswith("ledger: entry")


def test_a_time_set_before_a_deadline_is_named(forged):
    lines = read_lines(forged)
    at = find(lines, "Advanced")
    lines[at]["time"] -= 1000
    forge(forged, lines)
    assert audit(forged).startswith(f"ledger: entry {at - 1}")


def test_a_genesis_of_another_job_is_named(forged):
    lines = read_lines(forged)
    lines[0]["args"]["rules"]["job"] = sha256(b"other").hexdigest()
    forge(forged, lines)
    edit(forged, lambda run: run["rules"].update(job=sha256(b"other").hexdigest()))
    assert audit(forged).startswith("genesis: blob")


def test_another_tasks_log_is_named(forged, other):
    shutil.copy(other / "events.jsonl", forged / "events.jsonl")
    assert audit(forged) != ""
    theirs = json.loads((other / "run.json").read_text())
    edit(forged, lambda run: run.update(events=theirs["events"]))
    assert audit(forged) != ""
    assert "run.json" in audit(forged) or "blob" in audit(forged)


def test_a_lost_log_is_named(forged):
    (forged / "events.jsonl").unlink()
    assert audit(forged) == "events.jsonl is missing"


@pytest.mark.slow
def test_no_field_of_any_kind_of_line_can_be_altered_and_all_links_forged(forged):
    lines = read_lines(forged)
    last = {line["name"]: at for at, line in enumerate(lines)}
    for at in sorted(last.values())[1:]:
        for name, value in {**lines[at]["args"], "time": lines[at]["time"], "block": lines[at]["block"]}.items():
            altered = json.loads(json.dumps(lines))
            place = altered[at] if name in ("time", "block") else altered[at]["args"]
            place[name] = alter(value)
            forge(forged, altered)
            if audit(forged) == "":
                # When a call came, and who made one that anybody may make: only a chain can vouch for that.
                assert name in ("time", "block") or (lines[at]["name"], name) in ANYBODYS, (at, name)


ANYBODYS = {("Funded", "sender"), ("Advanced", "sender")}


def alter(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, list):
        return value[:-1]
    return value[:-1] + ("0" if value[-1] != "0" else "1")


# --- What run.json claims ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["payout", "slash", "stake"])
def test_an_altered_amount_of_a_node_names_the_node(forged, key):
    edit(forged, lambda run: run["summary"]["nodes"][-1].update({key: 1}))
    assert audit(forged) == "run.json claims other money for shift-3 (attacker) than the replay gives"


def test_a_node_left_out_or_added_is_named(forged):
    edit(forged, lambda run: run["summary"]["nodes"].pop())
    assert audit(forged) == "run.json names other nodes than the replay gives"


def test_an_altered_digest_is_named(forged):
    edit(forged, lambda run: run["summary"].update(digest="ab" * 32))
    assert audit(forged).startswith(f"run.json claims digest {'ab' * 32}, the replay gives ")


@pytest.mark.parametrize(("change", "named"), [
    (lambda run: run["rules"].update(norm_ceiling=1), "rule norm_ceiling"),
    (lambda run: run["rules"].update(more=1), "rule more"),
    (lambda run: run["rules"].pop("vote"), "rule vote"),
    (lambda run: run.update(task="0x" + "99" * 20), "names task 0x9999"),
    (lambda run: run.update(chain=5), "names chain 5"),
    (lambda run: run.pop("summary"), "'summary'"),
    (lambda run: run.pop("events"), "'events'"),
    (lambda run: run.update(rules=3), "run.json: not what a finished run writes"),
    (lambda run: run["summary"].update(nodes=None), "run.json: not what a finished run writes"),
])  # fmt: skip
def test_other_forgeries_of_run_json_are_named(forged, change, named):
    edit(forged, change)
    assert named in audit(forged)


# --- The adapter ---------------------------------------------------------------------------------------------


def change_adapter(path, change):
    file = path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_an_altered_adapter_names_the_tensor(forged):
    name = sorted(load_file(forged / "adapter" / "adapter_model.safetensors"))[3]

    def change(tensors):
        tensors[name][0, 0] += 1

    change_adapter(forged, change)
    assert audit(forged) == f"adapter_model.safetensors: {name} is not that of the final state"


def test_an_adapter_with_tensors_left_out_or_turned_is_named(forged):
    change_adapter(forged, lambda tensors: tensors.update({name: t.T.copy() for name, t in tensors.items()}))
    assert "is not of the final state's form" in audit(forged)
    change_adapter(forged, lambda tensors: tensors.popitem())
    assert audit(forged) == "adapter_model.safetensors: its tensors are not those of the final state"


@pytest.mark.parametrize(("key", "value"), [("r", 4), ("lora_alpha", 99), ("use_rslora", True)])
def test_an_adapter_that_is_applied_at_another_strength_is_named(forged, key, value):
    file = forged / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    assert audit(forged) == f"adapter_config.json: {key} is not that of the final state"


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_torn_adapter_is_named(forged, name):
    file = forged / "adapter" / name
    file.write_bytes(file.read_bytes()[:100])
    assert audit(forged).startswith(f"{name}: not ")
