"""Say how a devnet stands, from its chain, its nodes' own words and its processes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from openflock.app.devnet.record import Record, list_running
from openflock.app.devnet.view import build_table, describe_task_line, show_summary
from openflock.app.node.status import read_status
from openflock.app.settings import SettingsError
from openflock.app.task.view import Follower, View, describe_task, open_chain
from openflock.protocol.types import Phase

if TYPE_CHECKING:
    from openflock.app.devnet.inputs import Member


def describe_members(out: Path, members: "Sequence[Member]", view: View) -> list[dict[str, Any]]:
    """Describe every node: its process, what it last said of itself, and what the chain says of its money."""
    return [
        describe_member(
            out,
            {"name": member.name, "node": member.address},
            view,
            member.process.pid if member.process else None,
            member.process.poll() if member.process else None,
        )
        for member in members
    ]


def describe_member(out: Path, member: dict[str, Any], view: View, pid: int | None, code: int | None) -> dict[str, Any]:
    """Describe one node."""
    try:
        said = read_status(out / "nodes" / member["name"])
    except SettingsError:
        said = {}
    node = view.state.nodes.get(member["node"])
    timed = view.state.phase not in (Phase.DRAW, Phase.FINISHED)
    joined = "joined" if member["node"] in view.state.members else "too little stake" if node else "starting"
    return {
        **member,
        "pid": pid,
        "state": joined if code is None else "ended" if code == 0 else f"failed ({code})",
        "failed": bool(code),
        "round": said.get("round"),
        "phase": said.get("phase"),
        "left": max(0, view.state.deadline - view.now) if timed else None,
        "digest": said.get("digest"),
        "stake": node.stake if node else 0,
        "earned": sum(story.paid[member["node"]] for story in view.stories),
        "slashed": sum(story.slashed[member["node"]] for story in view.stories),
    }


def describe_devnet(out: Path) -> dict[str, Any]:
    """Describe a devnet: what came of it, or how it stands now."""
    content = Record(out).read()
    running = list_running(content)
    found: dict[str, Any] = {
        "out": str(out),
        "running": [process["name"] for process in running],
        "summary": content.get("summary"),
        **{name: content.get(name) for name in ("task", "rpc", "store")},
    }
    if not any(process["name"] == "anvil" for process in running) or not content.get("task"):
        return found
    view = Follower(open_chain(content["rpc"]), content["task"]).view()
    pids = {process["name"]: process["pid"] for process in running}
    members = [
        describe_member(out, member, view, pids.get(member["name"]), None if member["name"] in pids else 1)
        for member in content["members"]
    ]
    return found | {"standing": describe_task_line(view), "members": members, "on_chain": describe_task(view)}


def show_devnet(found: dict[str, Any], console: Console) -> None:
    """Print how a devnet stands."""
    if found["summary"]:
        show_summary(found["summary"], console)
    elif "members" in found:
        console.print(build_table(found["members"], found["standing"]))
        console.print(
            f"openflock task show {found['task']} --rpc {found['rpc']} --store {found['store']}", soft_wrap=True
        )
    elif found["running"]:
        console.print(f"starting: {', '.join(found['running'])} run")
    else:
        console.print(f"{found['out']}: unfinished, nothing runs: openflock devnet up --fresh --out {found['out']}")
