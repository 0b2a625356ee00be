"""A devnet: a chain, a task and its nodes, each a process of its own, from their start to the audit at the end."""

import json
import os
import signal
import subprocess
import sys
import time as wall
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console
from web3 import Web3

from openflock.app.devnet.inputs import Member, keep_keys, make_keys, make_members, write_inputs
from openflock.app.devnet.record import Record, describe_process
from openflock.app.devnet.status import describe_members
from openflock.app.devnet.stores import Place, start_store
from openflock.app.devnet.view import Screen, show_summary
from openflock.app.settings import TOKEN, Config, load_config
from openflock.app.task.view import Follower, View, describe_round, open_chain
from openflock.edge.anvil import Anvil, start_anvil
from openflock.edge.processes import end_process, start_process
from openflock.learn.data import list_domains
from openflock.protocol.ports import Unreachable
from openflock.protocol.types import Phase

CONFIG = Path(str(files("openflock") / "assets" / "devnet.toml"))
LOOK = 1.0  # seconds between two looks at chain and processes
CREATION = 600.0  # seconds in which the task must be created, on a slow machine too
GOODBYE = 120.0  # seconds that nodes have to end by themselves, when the task is over


class DevnetError(RuntimeError):
    """A devnet that cannot go on; the text is one line."""


@dataclass(frozen=True)
class Plan:
    """What the command was asked for."""

    out: Path
    nodes: int = 6
    rounds: int = 4
    store: str = "directory"
    block_time: float = 1
    confirmations: int = 0
    config: Path | None = None
    changes: tuple[str, ...] = ()
    fresh: bool = False


@dataclass
class Devnet:
    """All that was started."""

    plan: Plan
    config: Config
    anvil: Anvil
    place: Place
    keys: Path
    members: list[Member] = field(default_factory=list)
    task: dict[str, Any] = field(default_factory=dict)
    audits: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    creator: subprocess.Popen[bytes] | None = None  # opens the sealed rows

    @property
    def out(self) -> Path:
        """The directory."""
        return self.plan.out

    def write(self, **more: Any) -> None:
        """Write down what there is, and which processes run."""
        processes = [("devnet", os.getpid()), ("anvil", self.anvil.process.pid)]
        processes += [("s3", self.place.pid)] if self.place.pid else []
        processes += [(member.name, member.process.pid) for member in self.members if member.process]
        processes += [("creator", self.creator.pid)] if self.creator else []
        content = {
            "rpc": self.anvil.url,
            "store": self.place.url,
            **self.task,
            "secrets": str(self.keys),
            "members": [
                {"name": member.name, "domain": member.domain, "node": member.address} for member in self.members
            ],
            "processes": [describe_process(name, pid) for name, pid in processes],
            "summary": None,
        }
        Record(self.out).write(content | more)


# --- The whole -----------------------------------------------------------------------------------------------


def run_devnet(plan: Plan, console: Console) -> bool:
    """Run a devnet from its start to its audit; answer whether all went as it should."""
    started = wall.monotonic()
    config = load_plan(plan)
    Record(plan.out).open(plan.fresh)
    for folder in ("data", "logs", "nodes"):
        (plan.out / folder).mkdir()
    with ExitStack() as stack:
        devnet = start(stack, plan, config, console)
        with Screen(console) as screen:
            view = follow(devnet, screen)
        summary = conclude(devnet, view, started, console)
        devnet.write(summary=summary, processes=[])
    show_summary(summary, console)
    console.print(f"the chain is gone; logs, nodes and what is left of the blobs: {plan.out}", highlight=False)
    return bool(summary["well"])


def load_plan(plan: Plan) -> Config:
    """Read the configuration, with what follows from the number of nodes and rounds."""
    return load_config(plan.config or CONFIG, list_changes(plan, load_config(plan.config or CONFIG, plan.changes)))


def list_changes(plan: Plan, config: Config) -> list[str]:
    """List the changes of the configuration: the first round waits until all nodes have joined."""
    domains = len(config.domains or list_domains(Path(config.data)))
    holders = f"nodes_per_domain={-(-plan.nodes // domains)}"
    return [holders, f"rules.min_nodes={plan.nodes}", f"rules.rounds={plan.rounds}", *plan.changes]


def start(stack: ExitStack, plan: Plan, config: Config, console: Console) -> Devnet:
    """Start chain, store, task and nodes; the stack ends them, the last first."""
    keys = stack.enter_context(keep_keys())
    anvil = stack.enter_context(start_anvil(block_time=plan.block_time, log=plan.out / "logs" / "anvil.log"))
    place = stack.enter_context(start_store(plan.store, plan.out))
    devnet = Devnet(plan, config, anvil, place, keys)
    stack.callback(end_members, devnet)
    console.print(f"chain: {anvil.url}, store: {place.url}", highlight=False, soft_wrap=True)
    devnet.members = make_members(config, plan.nodes, keys)
    devnet.write()
    devnet.task = create_task(devnet)
    place.serve()
    console.print(f"task: {devnet.task['task']}", highlight=False, soft_wrap=True)
    endow(devnet)
    write_inputs(plan.out, config, devnet.members)
    for member in devnet.members:
        start_member(devnet, member)
    start_creator(devnet)
    devnet.write()
    return devnet


def end_members(devnet: Devnet) -> None:
    """End all nodes and audits: all are asked before the first is waited for. From here on no signal interrupts."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    processes = [member.process for member in devnet.members if member.process] + list(devnet.audits.values())
    processes += [devnet.creator] if devnet.creator else []
    for process in processes:
        process.terminate()
    for process in processes:
        end_process(process)


# --- Its parts -----------------------------------------------------------------------------------------------


def create_task(devnet: Devnet) -> dict[str, Any]:
    """Create the task, as anyone would: by the command, in a process of its own."""
    creator = devnet.keys / "creator"
    devnet.anvil.fund(make_keys(creator))
    changes = [part for change in list_changes(devnet.plan, devnet.config) for part in ("--set", change)]
    options = [str(devnet.plan.config or CONFIG), "--rpc", devnet.anvil.url, "--store", devnet.place.url]
    options += ["--wallet", str(creator / "wallet.json"), "--password-file", str(creator / "password")]
    options += ["--dev-token", "--fund", str(devnet.config.pool), "--json", *changes]
    options += ["--cache", str(devnet.out / "cache")] if devnet.plan.store != "directory" else []
    options += ["--chest", str(devnet.keys / "chest")] if devnet.config.rows.sealed else []
    process = run(devnet, "create", ["task", "create", *options])
    try:
        return read_result(devnet, "create", process.wait(CREATION))
    except subprocess.TimeoutExpired as error:
        raise DevnetError(f"the task was not created within {CREATION:.0f} s") from error
    finally:
        end_process(process)


def run(devnet: Devnet, name: str, options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start one of our own commands; what it says goes to a log of its name."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **devnet.place.environment}
    command = [sys.executable, "-m", "openflock", *options]
    return start_process(command, devnet.out / "logs" / f"{name}.log", environment)


def read_result(devnet: Devnet, name: str, code: int) -> dict[str, Any]:
    """Read the JSON that a command printed last."""
    lines = (devnet.out / "logs" / f"{name}.log").read_text(errors="replace").splitlines()
    try:
        result = json.loads(lines[-1])
        return dict(result)
    except (IndexError, ValueError, TypeError) as error:
        said = lines[-1].removeprefix("openflock: ") if lines else "it said nothing"
        raise DevnetError(f"{name} ended with exit code {code}: {said}") from error


def endow(devnet: Devnet) -> None:
    """Give every node gas, and tokens for its stake."""
    token = Web3.to_checksum_address(devnet.task["token"])
    for member in devnet.members:
        devnet.anvil.fund(member.address)
        account = Web3.to_checksum_address(member.address)
        devnet.anvil.request("anvil_dealERC20", account, token, hex(2 * devnet.config.stake * TOKEN))


def start_member(devnet: Devnet, member: Member) -> None:
    """Start a node, or start it again."""
    options = ["--task", devnet.task["task"], "--rpc", devnet.anvil.url, "--store", devnet.place.url]
    options += ["--data", str(devnet.out / "data" / f"{member.name}.jsonl"), "--domain", member.domain]
    options += ["--wallet", str(member.keys / "wallet.json"), "--password-file", str(member.keys / "password")]
    options += ["--dir", str(devnet.out / "nodes" / member.name), "--config", str(devnet.out / "node.toml")]
    options += ["--stake", str(devnet.config.stake), "--confirmations", str(devnet.plan.confirmations)]
    member.process = run(devnet, member.name, ["node", "run", *options])


def start_creator(devnet: Devnet) -> None:
    """Let the creator open its sealed rows, if there are any."""
    if devnet.config.rows.sealed:
        options = ["--task", devnet.task["task"], "--rpc", devnet.anvil.url, "--store", devnet.place.url]
        options += ["--watch", "--chest", str(devnet.keys / "chest"), "--dir", str(devnet.out / "nodes" / "creator")]
        options += ["--confirmations", str(devnet.plan.confirmations)]
        devnet.creator = run(devnet, "creator", ["node", "run", *options])


# --- While it runs -------------------------------------------------------------------------------------------


def follow(devnet: Devnet, screen: Screen) -> View:
    """Show where everything stands until the task is over; halfway, an audit is started beside it."""
    follower = Follower(open_chain(devnet.anvil.url), devnet.task["task"])
    while True:
        try:
            view = follower.view()
        except Unreachable as error:
            screen.say(f"chain: {error}")
            wall.sleep(LOOK)
            continue
        screen.show(view, describe_members(devnet.out, devnet.members, view))
        devnet.place.keep(view)
        check_processes(devnet, view)
        if view.state.phase == Phase.FINISHED:
            return view
        if len(view.stories) * 2 >= devnet.plan.rounds and not devnet.audits:
            start_audit(devnet, "while it ran")
        wall.sleep(LOOK)


def check_processes(devnet: Devnet, view: View) -> None:
    """Stop where nothing more can come: no chain, a node that never joined, or no node left."""
    if devnet.anvil.process.poll() is not None:
        raise DevnetError(f"anvil ended; see {devnet.out / 'logs' / 'anvil.log'}")
    ended = [member for member in devnet.members if member.process and member.process.poll() is not None]
    for member in ended:
        if member.address not in view.state.nodes and view.state.phase != Phase.FINISHED:
            log = devnet.out / "logs" / f"{member.name}.log"
            lines = log.read_text(errors="replace").splitlines() or ["it said nothing"]
            raise DevnetError(f"{member.name} ended before it joined; see {log}: {lines[-1]}")
    if devnet.creator and devnet.creator.poll():  # 0 once the task is over, which this view may not show yet
        log = devnet.out / "logs" / "creator.log"
        raise DevnetError(f"the creator ended before it opened all sealed rows; see {log}")
    if len(ended) == len(devnet.members) and view.state.phase != Phase.FINISHED:
        raise DevnetError(f"all nodes ended before the task did; see {devnet.out / 'logs'}")


def start_audit(devnet: Devnet, when: str) -> None:
    """Start an audit that knows only chain and store."""
    where = ["--task", devnet.task["task"], "--rpc", devnet.anvil.url, "--store", devnet.place.url]
    devnet.audits[when] = run(devnet, f"audit {when}".replace(" ", "-"), ["audit", *where, "--json"])


# --- At the end ----------------------------------------------------------------------------------------------


def conclude(devnet: Devnet, view: View, started: float, console: Console) -> dict[str, Any]:
    """Let the nodes end, audit the task, and sum up."""
    console.print("the task is over; auditing it", highlight=False)
    start_audit(devnet, "at the end")
    audits = {when: finish_audit(devnet, when, process) for when, process in devnet.audits.items()}
    await_all(lambda: all(member.process and member.process.poll() is not None for member in devnet.members))
    nodes = [
        row | {"exit_code": member.process and member.process.poll()}
        for row, member in zip(describe_members(devnet.out, devnet.members, view), devnet.members, strict=True)
    ]
    digest = view.state.digest.hex()
    agree = all(node["digest"] == digest and node["exit_code"] == 0 for node in nodes)
    clean = all(audit["clean"] for audit in audits.values()) and audits["at the end"]["digest"] == digest
    return {
        "well": agree and clean,
        "digest": digest,
        "rounds": [describe_round(story) for story in view.stories],
        "nodes": nodes,
        "audits": audits,
        "seconds": wall.monotonic() - started,
    }


def finish_audit(devnet: Devnet, when: str, process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait for an audit's result."""
    await_all(lambda: process.poll() is not None)
    try:
        return read_result(devnet, f"audit {when}".replace(" ", "-"), process.poll() or 0)
    except DevnetError as error:
        return {"clean": False, "difference": str(error)}


def await_all(is_done: Callable[[], bool]) -> None:
    """Wait until something is done, for so long and no longer."""
    deadline = wall.monotonic() + GOODBYE
    while not is_done() and wall.monotonic() < deadline:
        wall.sleep(0.1)
