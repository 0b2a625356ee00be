"""Show tasks and accounts in a terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from openflock.app.tables import OUTCOMES, format_tokens
from openflock.app.task.view import WEI, View, describe_node
from openflock.app.words import describe_rules, format_deadline, format_span, format_time, list_weaknesses
from openflock.protocol.types import Phase

SHOWN_ROUNDS = 5


def show_task(view: View, console: Console) -> None:
    """Print a task: where it stands, who takes part, how its last rounds ended, and its rules in words."""
    state, genesis, job = view.state, view.state.genesis, view.job
    lines = [
        ("task", f"{genesis.task} on chain {genesis.chain}, created {format_time(genesis.time)} by {genesis.creator}"),
        ("token", genesis.token),
        ("phase", f"{state.phase.name.lower()}: {format_deadline(state.phase, state.deadline, view.now)}"),
        ("round", f"{state.round.number} of {genesis.rules.rounds}" + (", cancelled" if state.cancelled else "")),
        ("pool", f"{format_tokens(state.pool)} tokens for the rounds to come"),
        ("digest", f"{state.digest.hex()} of the global state"),
    ]
    if job:
        lines.insert(0, ("title", f"{job.title} ({job.base}, rank {job.rank})"))
        if job.sealed:
            opened = f"of each domain, for {len(job.sealed)} rounds; what they prove no benefit of is not merged"
            lines.append(("sealed rows", opened))
    show_pairs(lines, console)
    show_pairs(describe_rules(genesis.rules), console, "Rules")
    if state.nodes:
        console.print(build_members_table(view))
    else:
        console.print("nobody has joined yet")
    for story in view.stories[-SHOWN_ROUNDS:]:
        ended = OUTCOMES[story.outcome] if story.outcome is not None else ""
        console.print(f"round {story.number}: {ended}; digest {story.digest.hex()[:12]}", highlight=False)
    stakes = [state.nodes[address].stake for address in state.members]
    show_weaknesses(list_weaknesses(genesis.rules, stakes), console)
    if not state.pool and state.phase != Phase.FINISHED:
        console.print("note: the pool is empty, so nothing is paid: openflock task fund")


def show_weaknesses(weaknesses: Iterable[str], console: Console) -> None:
    """Print what makes a task weak, a line each."""
    for weakness in weaknesses:
        console.print(f"weak: {weakness}", highlight=False)


def build_members_table(view: View) -> Table:
    """Build the table of all who have stake in a task."""
    table = _start_table("Nodes", ("node", "domain", "stake", "earned", "lost", "owed", ""))
    for address in sorted(view.state.nodes):
        node = describe_node(view, address)
        standing = "" if node["is_member"] else "under the minimum stake: not drawn"
        if node["release"]:
            left = node["release"] - view.now
            standing = f"left; stake free in {format_span(left)}" if left > 0 else "left; stake is free"
        amounts = [format_tokens(node[key]) for key in ("stake", "earned", "slashed", "owed")]
        table.add_row(address, node["domain"], *amounts, standing)
    return table


def build_task_list(tasks: Sequence[dict[str, Any]], now: int) -> Table:
    """Build the table of a factory's tasks."""
    table = _start_table("Tasks", ("task", "round", "phase", "", "nodes", "stake", "pool"))
    for task in tasks:
        phase = Phase[task["phase"].upper()]
        amounts = [format_tokens(task[key]) for key in ("stake", "pool")]
        number = f"{task['round']} of {task['rounds']}"
        deadline = format_deadline(phase, task["deadline"], now)
        table.add_row(task["task"], number, task["phase"], deadline, str(task["members"]), *amounts)
    return table


def show_account(account: dict[str, Any], console: Console) -> None:
    """Print what an account has."""
    lines = [("address", account["address"])]
    if "chain" in account:
        lines.append(("gas", f"{account['gas'] / WEI:g} on chain {account['chain']}"))
    if "task" in account:
        lines += [("tokens", format_tokens(account["tokens"])), ("stake", format_tokens(account["stake"]))]
        lines.append(("owed", f"{format_tokens(account['owed'])} by the task {account['task']}"))
    show_pairs(lines, console)


def show_pairs(pairs: Iterable[tuple[str, str]], console: Console, title: str | None = None) -> None:
    """Print a name and what it holds a line."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, value)
    console.print(table)


def _start_table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in headings:
        amount = heading in ("stake", "earned", "lost", "owed", "pool", "nodes")
        table.add_column(heading, justify="right" if amount else "left", no_wrap=heading in ("node", "task"))
    return table
