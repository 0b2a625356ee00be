import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from openflock.learn.data import parse_row
from openflock.learn.encode import collate, encode_rows
from openflock.learn.skills import generate_rows

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
HEAVY = ("torch", "transformers", "peft", "datasets", "web3", "numpy", "pydantic")
ROW = '{"prompt": "Reverse: abc", "completion": "cba"}\n'
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}


def run(*arguments, **options):
    """The command as a user runs it."""
    command = [sys.executable, "-c", "from openflock.app.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT, **options)


# --- Help ----------------------------------------------------------------------------------------------------


def test_help_lists_the_commands_and_loads_nothing_heavy():
    script = f"""
import sys
from openflock.app.cli import app, main
sys.argv = ["openflock", "--help"]
try:
    main()
except SystemExit as end:
    print(end.code, [name for name in {HEAVY!r} if name in sys.modules])
"""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stdout.splitlines()[-1] == "0 []"
    for command in ("demo", "simulate", "audit", "export", "chat", "doctor"):
        assert command in done.stdout
    assert time.perf_counter() - start < 60  # for who waits on a broken import


def test_doctor_finds_this_machine_well(call):
    code, out, _ = call("doctor")
    assert code == 0
    assert "all is well" in out


# --- What a user gets wrong ----------------------------------------------------------------------------------


def write_data(folder, bad=""):
    for domain in ("first", "second"):
        (folder / domain).mkdir(parents=True)
        for split in ("train", "validation"):
            (folder / domain / f"{split}.jsonl").write_text(ROW * 60)
    (folder / "second" / "train.jsonl").write_text(bad)
    return folder


@pytest.mark.parametrize(
    ("changes", "fault", "mend"),
    [
        (["base=/nowhere/model"], "/nowhere/model: no such model directory", "give one with config.json"),
        (["data=/nowhere/data", "domains=[]"], "/nowhere/data: no such directory", "make DOMAIN/train.jsonl"),
        (['domains=["nope"]'], "no skill 'nope'", "choose one of reverse, sort"),
        (['domains=["sort", "sort"]'], "domains: one is named twice", "name each once"),
        (["domains=[]"], "domains", "name the skills"),
        (["rules.min_nodes=1"], "rules: too few nodes", "must be at least 3"),
        (["rules.vote=0"], "rules: vote", "must last 1 second"),
        (["rules.typo=1"], "rules.typo", "no such rule"),
        (['targets=["nope"]'], "no adapter for ('nope',)", "name linear layers"),
        (["stake=1"], "stake: 1 tokens, less than min_stake = 50", ""),
        (['attackers=[{domain="sort"}]'], "attackers: no domain 'sort'", "choose one of reverse, shift"),
        (["train.learning_rate=1e30"], "train: the loss is", "lower the learning rate"),
        (["learning_rate=3"], "learning_rate", ""),
        (["nodes_per_domain=1"], "2 nodes in all, fewer than min_nodes = 3", "raise it"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_configuration_that_cannot_run_is_refused_in_one_line(refuse, config_file, tmp_path, changes, fault, mend):
    options = [part for change in changes for part in ("--set", change)]
    line = refuse("simulate", config_file, "--out", tmp_path / "run", *options)
    assert fault in line
    assert mend in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_named(refuse, config_file, tmp_path):
    line = refuse("simulate", config_file, "--out", tmp_path / "run", "--set", "device=cuda")
    assert "device: no cuda on this machine; set device=cpu" in line


def test_a_missing_configuration_is_named(refuse, tmp_path):
    assert "none.toml: no such file" in refuse("simulate", tmp_path / "none.toml", "--out", tmp_path / "run")
    assert "is a directory" in refuse("simulate", tmp_path, "--out", tmp_path / "run")


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (ROW * 4 + '{"prompt": \n' + ROW, "second/train.jsonl:5: not JSON"),
        (ROW * 2 + '{"question": "x"}\n', "second/train.jsonl:3: found question"),
        (ROW + '{"prompt": "x", "completion": " "}\n', "second/train.jsonl:2: the completion is empty"),
        ("", "second/train.jsonl"),
        ("\n\n", "second/train.jsonl"),
        (ROW, "data: second has 1 rows, too few for 2 nodes"),
    ],
)
def test_bad_rows_are_named_by_file_and_line(refuse, config_file, tmp_path, bad, fault):
    data = write_data(tmp_path / "data", bad)
    changes = ["--set", f"data={data}", "--set", "domains=[]"]
    assert fault in refuse("simulate", config_file, "--out", tmp_path / "run", *changes)


def test_a_mended_configuration_runs_in_the_same_directory(call, refuse, config_file, tmp_path):
    arguments = ["simulate", config_file, "--out", tmp_path / "run", "--set", "rules.rounds=1"]
    refuse(*arguments, "--set", "rules.min_nodes=1")
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert "digest of the global state" in out


def test_a_directory_of_another_run_is_refused_and_left(refuse, config_file, finished):
    before = (finished / "run.json").read_bytes()
    line = refuse("simulate", config_file, "--out", finished, "--set", "seed=9")
    assert "another configuration (seed); choose another --out" in line
    assert (finished / "run.json").read_bytes() == before


def test_the_same_command_again_shows_the_summary_and_trains_nothing(call, config_file, finished):
    start = time.perf_counter()
    code, out, _ = call("simulate", config_file, "--out", finished)
    assert code == 0
    assert "finished" in out
    assert json.loads((finished / "run.json").read_text())["summary"]["digest"] in out
    assert time.perf_counter() - start < 60


@pytest.mark.parametrize("command", ["audit", "export", "chat"])
def test_a_directory_that_holds_no_run_is_named(refuse, tmp_path, command):
    rest = {"audit": [], "export": [tmp_path / "out"], "chat": ["--say", "hello"]}[command]
    assert "is not a run directory: it has no run.json" in refuse(command, tmp_path, *rest)


def test_an_audit_of_nothing_or_of_too_much_says_what_to_give(refuse, finished):
    assert "give a run directory, or --task, --rpc and --store" in refuse("audit")
    assert "give a run directory, or" in refuse("audit", finished, "--rpc", "http://127.0.0.1:1")


def test_an_export_of_nothing_or_of_too_much_says_what_to_give(refuse, finished, tmp_path):
    assert "export: give a run directory, or --task, --rpc and --store" in refuse("export", tmp_path / "out")
    assert "name where to write: openflock export" in refuse("export", finished)
    assert "give one run directory, and one to write; these are 3" in refuse("export", finished, finished, tmp_path)
    assert "chat: give a run directory, or" in refuse("chat", "--task", "0x" + "11" * 20, "--store", tmp_path)


def test_no_model_is_talked_to_that_is_built_on_another_base(refuse, finished, tmp_path):
    from openflock.app.bases import locate_base
    from openflock.app.settings import BUILT_IN

    changed = shutil.copytree(locate_base(BUILT_IN), tmp_path / "base")
    (changed / "config.json").write_bytes((changed / "config.json").read_bytes() + b" ")
    assert "give the right ones with --base" in refuse("chat", finished, "--base", changed, "--say", "Reverse: abc")


def test_an_audit_takes_its_endpoint_from_the_environment_and_a_run_directory_does_not_mind_it(
    call, refuse, finished, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENFLOCK_RPC", "http://127.0.0.1:1")
    assert call("audit", finished)[0] == 0
    line = refuse("audit", "--task", "0x" + "11" * 20, "--store", tmp_path)
    assert "http://127.0.0.1:1 cannot be connected to" in line


@pytest.mark.parametrize(
    ("rpc", "fault"),
    [("http://127.0.0.1:1", "http://127.0.0.1:1 cannot be connected to; check the URL"), ("no url", "is not named")],
)
def test_an_endpoint_that_does_not_answer_is_named(refuse, tmp_path, rpc, fault):
    line = refuse("audit", "--task", "0x" + "11" * 20, "--rpc", rpc, "--store", tmp_path)
    assert "--rpc: " in line
    assert fault in line


def test_a_store_that_is_not_there_is_named(refuse, tmp_path):
    store = tmp_path / "none"
    line = refuse("audit", "--task", "0x" + "11" * 20, "--rpc", "http://127.0.0.1:1", "--store", store)
    assert "none: no such directory" in line


def test_an_export_over_files_is_refused(refuse, finished, tmp_path):
    (tmp_path / "mine").write_text("x")
    assert "is not empty; choose another directory" in refuse("export", finished, tmp_path)


def test_one_line_is_all_that_a_user_sees_in_a_shell_too(tmp_path):
    done = run("audit", tmp_path)
    assert (done.returncode, done.stdout.strip()) == (2, "")
    assert done.stderr == f"openflock: {tmp_path} is not a run directory: it has no run.json\n"


# --- What comes out ------------------------------------------------------------------------------------------


def test_a_clean_audit_exits_0_and_a_difference_1(call, finished, tmp_path):
    code, out, err = call("audit", finished)
    assert (code, err) == (0, "")
    assert "audit: clean" in out
    code, out, _ = call("audit", finished, "--json")
    assert json.loads(out)["clean"] is True
    forged = shutil.copytree(finished, tmp_path / "forged")
    blob = max((forged / "blobs").iterdir())
    blob.write_bytes(b"x")
    code, out, _ = call("audit", forged)
    assert code == 1
    assert blob.name in out
    code, out, _ = call("audit", forged, "--json")
    assert code == 1
    assert blob.name in json.loads(out)["difference"]


def test_an_export_loads_in_peft_with_the_loss_that_was_reported(call, finished, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    code, out, _ = call("export", finished, tmp_path / "adapter")
    assert code == 0
    assert "a PEFT adapter" in out
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    base = config["base_model_name_or_path"]
    network = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(network, tmp_path / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    written = json.loads((finished / "run.json").read_text())
    for domain, wanted in written["summary"]["loss"]["merged"].items():
        rows = [parse_row(row, domain) for row in generate_rows(domain, 8, written["config"]["seed"], "validation")]
        batch = collate(encode_rows(tokenizer, rows, 64), 0)
        with torch.no_grad():
            found = loaded(input_ids=batch.tokens, attention_mask=batch.mask, labels=batch.labels).loss.item()
        assert found == pytest.approx(wanted, abs=1e-3)


def test_the_run_holds_the_same_adapter_as_the_export(call, finished, tmp_path):
    call("export", finished, tmp_path / "adapter")
    for name in ("adapter_model.safetensors", "adapter_config.json", "README.md"):
        assert (tmp_path / "adapter" / name).read_bytes() == (finished / "adapter" / name).read_bytes()


def test_chat_answers(call, finished):
    code, out, _ = call("chat", finished, "--say", "Reverse: flock", "--tokens", "12")
    assert code == 0
    assert out.strip()
    assert call("chat", finished, "--say", "Reverse: flock", "--tokens", "12")[1] == out


def test_chat_reads_lines_from_a_pipe_until_its_end(finished):
    done = run("chat", finished, "--tokens", "4", input="Reverse: abc\n\nSort: cab\n")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 2


# --- Interrupted ---------------------------------------------------------------------------------------------


def kill_at(config_file, out, is_time, delay):
    """Start a run and kill it, as a power cut would, a while after `is_time` first holds."""
    command = [sys.executable, "-c", "from openflock.app.cli import main; main()"]
    process = subprocess.Popen(
        [*command, "simulate", str(config_file), "--out", str(out)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT,
    )  # fmt: skip
    while process.poll() is None and not is_time():
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    return process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("ledger", [pytest.param("spec", marks=pytest.mark.long), "evm"])
def test_a_run_killed_again_and_again_ends_at_the_digest_of_one_left_alone(call, config_file, tmp_path, ledger):
    config_file.write_text(config_file.read_text().replace('"spec"', f'"{ledger}"').replace("steps = 2", "steps = 12"))
    assert call("simulate", config_file, "--out", tmp_path / "whole")[0] == 0
    out, chance = tmp_path / "killed", random.Random()
    seen = set()

    def grew():
        lines = (out / "events.jsonl").read_bytes().count(b"\n") if (out / "events.jsonl").exists() else 0
        return lines > max(seen, default=0)

    for _ in range(2):
        if kill_at(config_file, out, grew, chance.uniform(0, 0.6)) == 0:
            break
        seen.add((out / "events.jsonl").read_bytes().count(b"\n"))
    assert seen, "no run was killed before its end"
    assert call("simulate", config_file, "--out", out)[0] == 0
    whole, killed = (json.loads((path / "run.json").read_text()) for path in (tmp_path / "whole", out))
    assert killed["summary"]["digest"] == whole["summary"]["digest"]
    assert killed["events"] == whole["events"]
    assert (out / "events.jsonl").read_bytes() == (tmp_path / "whole" / "events.jsonl").read_bytes()
    assert call("audit", out)[0] == 0
