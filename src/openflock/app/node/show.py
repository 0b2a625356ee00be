"""Show how a node does: what it last wrote down, and what the chain says."""

import json
import time as wall
from pathlib import Path
from typing import Any

import typer

from openflock.app.node.status import read_status
from openflock.app.tables import format_tokens
from openflock.app.words import format_deadline, format_span, format_time
from openflock.protocol.types import Phase


def show_status(directory: Path, rpc: str | None, as_json: bool) -> None:
    """Print a node's status."""
    status = read_status(directory)
    if rpc:
        status["chain_view"] = ask_chain(rpc, str(status["task"]), str(status["node"]))
    if as_json:
        typer.echo(json.dumps(status, indent=2))
        return
    for line in list_lines(status):
        typer.echo(line)


def ask_chain(rpc: str, task: str, me: str) -> dict[str, Any]:
    """Ask the chain what the node wrote down itself; what differs is news that it has not seen."""
    from openflock.app.task.view import Follower, find_task, open_chain

    web3 = open_chain(rpc)
    view = Follower(web3, find_task(web3, task)).view()
    node = view.state.nodes.get(me)
    return {
        "round": view.state.round.number,
        "phase": view.state.phase.name.lower(),
        "deadline": view.state.deadline,
        "time": view.now,
        "digest": view.state.digest.hex(),
        "member": me in view.state.members,
        "stake": node.stake if node else 0,
        "release": node.release if node else 0,
        "owed": view.state.payable.get(me, 0),
    }


def list_lines(status: dict[str, Any]) -> list[str]:
    """Write a status in words."""
    seen = status.get("chain_view") or {**status, "time": status["chain_time"]}
    alive = f"runs as process {status['pid']}" if status["running"] else "does not run"
    lines = [
        f"node {status['node'] or '(watching)'} of task {status['task']}: {alive}",
        f"round {seen['round']} of {status['rounds']}, {seen['phase']}: "
        + format_deadline(Phase[seen["phase"].upper()], seen["deadline"], seen["time"]),
        f"stake {format_tokens(seen['stake'])}, {'drawn from' if seen['member'] else 'not drawn from'};"
        f" earned {format_tokens(status['earned'])}, owed {format_tokens(seen['owed'])},"
        f" lost {format_tokens(status['slashed'])}",
        f"digest of the global state: {seen['digest']}",
    ]
    if seen["release"]:
        lines.append(f"leaving: the stake is released at {format_time(seen['release'])}")
    if status["last_error"]:
        lines.append(f"last trouble: {status['last_error']}")
    age = max(0, int(wall.time()) - status["written"])
    return [*lines, f"written {format_span(age)} ago"]
