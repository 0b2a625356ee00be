"""Show a devnet while it runs, and what came of it: a live table at a terminal, a line a change elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from openflock.app.tables import OUTCOMES, format_tokens
from openflock.app.task.view import View
from openflock.app.words import format_deadline
from openflock.protocol.types import Outcome, State

HEADINGS = ("node", "pid", "state", "round", "phase", "seconds left", "stake", "earned", "lost")


def describe_task_line(view: View) -> str:
    """Say where the task stands."""
    state = view.state
    return (
        f"round {state.round.number} of {state.genesis.rules.rounds}, {state.phase.name.lower()}:"
        f" {format_deadline(state.phase, state.deadline, view.now)}; {len(state.members)} nodes joined"
    )


def build_table(rows: Sequence[dict[str, Any]], title: str) -> Table:
    """Build the table of all nodes."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading in ("node", "state", "phase") else "right", no_wrap=True)
    for row in rows:
        amounts = [format_tokens(row[key]) for key in ("stake", "earned", "slashed")]
        shown = [str(row[key]) if row[key] is not None else "" for key in ("pid", "state", "round", "phase", "left")]
        table.add_row(row["name"], *shown, *amounts, style="red" if row["failed"] else None)
    return table


@dataclass
class Screen:
    """Where the state of a devnet is shown; the same call at a terminal and without one."""

    console: Console
    live: Live | None = None
    _told: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> "Screen":
        if self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False)
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, view: View, rows: Sequence[dict[str, Any]]) -> None:
        """Show where everything stands; without a terminal, only what changed since."""
        for story in view.stories[self._told.get("rounds", 0) :]:
            ended = OUTCOMES[story.outcome or Outcome.MERGED]
            self.say(f"round {story.number}: {ended}; digest {story.digest.hex()}")
        self._told["rounds"] = len(view.stories)
        if self.live:
            self.live.update(build_table(rows, describe_task_line(view)), refresh=True)
            return
        self._tell("task", get_stand(view.state), describe_task_line(view))
        for row in rows:
            self._tell(row["name"], row["state"], f"{row['name']} (process {row['pid']}): {row['state']}")

    def say(self, line: str) -> None:
        """Print a line; at a terminal above the table."""
        self.console.print(line, soft_wrap=True, highlight=False)

    def _tell(self, what: str, value: Any, line: str) -> None:
        if self._told.get(what) != value:
            self._told[what] = value
            self.say(line)


def get_stand(state: State) -> tuple[int, int, int]:
    """Give what changes when a task goes on."""
    return state.round.number, int(state.phase), len(state.members)


def show_summary(summary: dict[str, Any], console: Console) -> None:
    """Print what came of a devnet: rounds, digests, money, audits."""
    for ended in summary["rounds"]:
        console.print(
            f"round {ended['round']}: {ended['outcome']}, {ended['merged']} of {ended['proposers']} updates merged,"
            f" {format_tokens(ended['spent'])} tokens paid, digest {ended['digest'][:16]}",
            highlight=False,
        )
    table = Table(title="Nodes", title_justify="left", title_style="bold")
    for heading in ("node", "digest", "earned", "lost", "stake", "exit code"):
        table.add_column(heading, justify="left" if heading in ("node", "digest") else "right", no_wrap=True)
    for node in summary["nodes"]:
        amounts = [format_tokens(node[key]) for key in ("earned", "slashed", "stake")]
        table.add_row(node["name"], str(node["digest"])[:16], *amounts, str(node["exit_code"]))
    console.print(table)
    for when, result in summary["audits"].items():
        told = f"clean, digest {str(result['digest'])[:16]}" if result["clean"] else str(result["difference"])
        console.print(f"audit {when}: {told}", highlight=False, soft_wrap=True)
    console.print(f"digest of the global state: {summary['digest']}", highlight=False, soft_wrap=True)
    if summary["well"]:
        console.print(f"all nodes and the audit hold it; {summary['seconds']:.0f} s in all", highlight=False)
    else:
        console.print("[bold red]not all is well[/bold red]: see the table, the audits and the logs")
