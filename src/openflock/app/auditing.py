"""Audit a run directory, or a task on a chain."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn

from openflock.app.rundir import RunDirectory
from openflock.app.source import OnChain, Source, open_source
from openflock.audit import AuditFailure, OnRound, Report, audit
from openflock.edge.blobs import DirectoryStore
from openflock.edge.record import BadRecord, read_record
from openflock.protocol.calls import Credited, Slashed
from openflock.protocol.encoding import parse_json, to_json
from openflock.protocol.ports import BlobCorrupt, Entry
from openflock.protocol.types import Genesis, Reason
from openflock.update.adapter import build_tensors, compute_strength
from openflock.update.codec import decode_state
from openflock.update.fixed import Layout

# What makes PEFT scale B @ A by anything but alpha / rank, when it is not this.
PLAIN: dict[str, Any] = {"use_rslora": False, "use_dora": False, "rank_pattern": {}, "alpha_pattern": {}}
EARNED = (Reason.PROPOSAL, Reason.VOTE, Reason.BOUNTY)


def run_audit(where: Source, console: Console) -> dict[str, Any]:
    """Audit a run or a task; print and return the result, `clean` or with its first `difference`."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            bar = progress.add_task("replaying")

            def on_round(number: int) -> None:
                progress.update(bar, description=f"replayed round {number}")

            report = audit_chain(where, on_round) if isinstance(where, OnChain) else audit_directory(where, on_round)
    except AuditFailure as failure:
        console.print(f"[bold red]audit: {failure}[/bold red]", soft_wrap=True)
        return {"clean": False, "difference": str(failure)}
    result = describe(report)
    clean, ended = ("clean", "is finished") if result["finished"] else ("clean so far", "has not ended")
    console.print(
        f"[bold green]audit: {clean}[/bold green]: {result['entries']} entries of the ledger replayed,"
        f" {result['rounds']} rounds, {result['updates']} updates checked, {result['merges']} merges computed again,"
        f" the task {ended}; digest {result['digest']}",
        soft_wrap=True,
    )
    return result


def describe(report: Report) -> dict[str, Any]:
    """Give a report as JSON."""
    return {
        "clean": True,
        "entries": report.entries,
        "rounds": report.rounds,
        "updates": report.updates,
        "merges": report.merges,
        "finished": report.finished,
        "digest": report.state.digest.hex(),
    }


# --- A run directory -----------------------------------------------------------------------------------------


def audit_directory(run: RunDirectory, on_round: OnRound) -> Report:
    """Audit a run directory: its log, all its blobs, its adapter, and what `run.json` claims."""
    written = run.read()
    if not run.blobs.is_dir():
        raise AuditFailure(f"{run.blobs.name} is missing")
    store = DirectoryStore(run.blobs)
    try:
        genesis, entries, links = read_record(run.events)
        store.check_all()
    except FileNotFoundError as error:
        raise AuditFailure(f"{run.events.name} is missing") from error
    except (BadRecord, BlobCorrupt) as error:
        raise AuditFailure(str(error)) from error
    if not written.get("finished"):
        return audit(genesis, entries, store, on_round)
    with explain_claims():
        check_tail(written, links)
        check_task(written, genesis)
    report = audit(genesis, entries, store, on_round)
    with explain_claims():
        check_claims(written["summary"], report, entries)
    check_adapter(run, store, report)
    return report


@contextmanager
def explain_claims() -> Iterator[None]:
    """Turn what a forged `run.json` lacks into a difference."""
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise AuditFailure(f"run.json: not what a finished run writes: {error!r}") from error


def check_tail(written: dict[str, Any], links: list[str]) -> None:
    """Compare the log's length and last link with what `run.json` holds: nothing was cut off."""
    count, link = written["events"]["count"], written["events"]["link"]
    if len(links) != count:
        raise AuditFailure(f"events.jsonl has {len(links)} lines, run.json says {count}")
    if links[-1] != link:
        raise AuditFailure(f"events.jsonl:{count}: the last line is not the one that run.json names")


def check_task(written: dict[str, Any], genesis: Genesis) -> None:
    """Compare the task and the rules that `run.json` names with those of the log."""
    for name in ("chain", "task"):
        if written[name] != getattr(genesis, name):
            raise AuditFailure(f"run.json names {name} {written[name]}, the log is of {getattr(genesis, name)}")
    rules = to_json(genesis.rules)
    differing = [name for name in {**rules, **written["rules"]} if written["rules"].get(name) != rules.get(name)]
    if differing:
        raise AuditFailure(f"run.json names another rule {differing[0]} than the log")


def check_claims(summary: dict[str, Any], report: Report, entries: list[Entry]) -> None:
    """Compare the summary's digest, payouts, slashes and stakes with the replay's."""
    if summary["digest"] != report.state.digest.hex():
        raise AuditFailure(f"run.json claims digest {summary['digest']}, the replay gives {report.state.digest.hex()}")
    if {node["address"] for node in summary["nodes"]} != report.state.nodes.keys():
        raise AuditFailure("run.json names other nodes than the replay gives")
    earned: Counter[str] = Counter()
    slashed: Counter[str] = Counter()
    for entry in entries:
        match entry.item:
            case Credited() if entry.item.reason in EARNED:
                earned[entry.item.account] += entry.item.amount
            case Slashed():
                slashed[entry.item.node] += entry.item.amount
    for node in summary["nodes"]:
        address = node["address"]
        replayed = (earned[address], slashed[address], report.state.nodes[address].stake)
        if (node["payout"], node["slash"], node["stake"]) != replayed:
            raise AuditFailure(f"run.json claims other money for {node['name']} than the replay gives")


def check_adapter(run: RunDirectory, store: DirectoryStore, report: Report) -> None:
    """Compare the exported adapter, tensor by tensor, with the final state."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = run.adapter / "adapter_model.safetensors"
    if not file.exists():
        return
    try:
        found = load_file(file)
    except SafetensorError as error:
        raise AuditFailure(f"{file.name}: not safetensors: {error}") from error
    state = decode_state(store.fetch(report.state.digest, 2**40))
    check_strength(run, state.layout)
    wanted = build_tensors(state)
    if found.keys() != wanted.keys():
        raise AuditFailure(f"{file.name}: its tensors are not those of the final state")
    for name, values in wanted.items():
        if found[name].dtype != values.dtype or found[name].shape != values.shape:
            raise AuditFailure(f"{file.name}: {name} is not of the final state's form")
        if found[name].tobytes() != values.tobytes():
            raise AuditFailure(f"{file.name}: {name} is not that of the final state")


def check_strength(run: RunDirectory, layout: Layout) -> None:
    """Compare what decides how strongly PEFT applies the tensors with the layout."""
    file = run.adapter / "adapter_config.json"
    try:
        config = parse_json(file.read_bytes())
        found = {name: config.get(name, value) for name, value in PLAIN.items()}
        found |= {"r": config["r"], "lora_alpha": config["lora_alpha"]}
    except (FileNotFoundError, ValueError, RecursionError, AttributeError, KeyError) as error:
        raise AuditFailure(f"{file.name}: not PEFT's configuration: {error}") from error
    rank, alpha = compute_strength(layout)
    wanted = {**PLAIN, "r": rank, "lora_alpha": alpha}
    differing = [name for name in found if found[name] != wanted[name]]
    if differing:
        raise AuditFailure(f"{file.name}: {differing[0]} is not that of the final state")


# --- A chain -------------------------------------------------------------------------------------------------


def audit_chain(where: OnChain, on_round: OnRound) -> Report:
    """Audit a task from its chain's logs and a store, knowing nothing else.

    While the task runs, the audit is of what the log held when it began: rounds that have ended are all there.
    """
    from openflock.app.task.view import find_task, open_chain
    from openflock.edge.evm_ledger import EvmLedger

    with open_source(where) as store:
        web3 = open_chain(where.rpc)
        ledger = EvmLedger(web3, find_task(web3, where.task), {}, confirmations=where.confirmations)
        genesis, entries = ledger.get_genesis(), list(ledger.read(0))
        return audit(genesis, entries, store, on_round)
