"""Tables for the terminal: one a round, and a summary at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from openflock.app.settings import TOKEN
from openflock.app.story import RoundStory
from openflock.protocol.types import Address, Amount, Outcome, State, Verdict

WHY = {
    Verdict.NONE: ("no update", "nothing published in time"),
    Verdict.PAID: ("merged", "helped its own domain, no objection"),
    Verdict.UNPAID: ("merged, unpaid", "no objection; no proof of benefit"),
    Verdict.UNAVAILABLE: ("rejected", "more than a third could not fetch it"),
    Verdict.INADMISSIBLE: ("rejected", "inadmissible: breaks the task's format or norm ceiling"),
    Verdict.SUSPECT: ("rejected", "a backdoor's witness was upheld"),
    Verdict.HARMFUL: ("rejected", "harmed too many beyond the tolerance"),
    Verdict.UNPROVEN: ("rejected", "no proof of benefit"),
    Verdict.UNJUDGED: ("rejected", "too few voters could judge it"),
}
OUTCOMES = {
    Outcome.MERGED: "the accepted updates were merged",
    Outcome.UNCHANGED: "no update was accepted: the old state stands",
    Outcome.VETOED: "the merge was vetoed: the old state stands",
    Outcome.EMPTY: "nobody published: the old state stands",
    Outcome.VOID: "too few voters agreed: void, the old state stands",
    Outcome.IDLE: "too few nodes or no seed: an idle round",
}


def format_tokens(amount: Amount) -> str:
    """Write an amount in tokens.

    >>> format_tokens(12_340_000_000_000_000_000)
    '12.34'
    """
    return f"{amount / TOKEN:,.2f}"


def build_round_table(
    story: RoundStory, state: State, domains: Sequence[str], names: Mapping[Address, str], rounds: int
) -> Table:
    """Build a round's table: each proposer with scores by domain, verdict and why, and what it got or lost."""
    outcome = OUTCOMES[story.outcome] if story.outcome is not None else "under way"
    table = Table(title=f"Round {story.number} of {rounds}: {outcome}", title_justify="left", title_style="bold")
    table.add_column("proposer", no_wrap=True)
    examined = any(story.sealed.values())
    for heading in (*domains, *(["sealed"] if examined else [])):
        table.add_column(heading, justify="right")
    for heading in ("verdict", "why"):
        table.add_column(heading)
    for heading in ("paid", "slashed"):
        table.add_column(heading, justify="right")
    for slot, proposer in enumerate(story.proposers):
        scores = story.get_scores(state, slot)
        columns = [scores.get(domain) for domain in range(len(domains))]
        columns += [story.get_sealed_score(slot)] if examined else []
        shown = ["·" if score is None else f"{score / 100:+.1f}%" for score in columns]
        verdict, why = WHY[story.judgements[slot].verdict if slot in story.judgements else Verdict.NONE]
        style = "red" if verdict == "rejected" else None
        paid, slashed = (_or_blank(amounts[proposer]) for amounts in (story.paid, story.slashed))
        table.add_row(names[proposer], *shown, verdict, why, paid, slashed, style=style)
    return table


def _or_blank(amount: Amount) -> str:
    return format_tokens(amount) if amount else ""


def build_loss_table(losses: Mapping[str, Mapping[str, float]], domains: Sequence[str], title: str) -> Table:
    """Build a table of completion loss, a row a model, a column a domain and the macro mean."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("model")
    for domain in (*domains, "macro"):
        table.add_column(domain, justify="right")
    for name, by_domain in losses.items():
        values = [by_domain[domain] for domain in domains]
        table.add_row(name, *(f"{value:.3f}" for value in (*values, sum(values) / len(values))))
    return table


def build_node_table(nodes: Sequence[Mapping[str, Any]]) -> Table:
    """Build the table of what each node earned and lost."""
    table = Table(title="Nodes", title_justify="left", title_style="bold")
    table.add_column("node", no_wrap=True)
    for heading in ("paid", "slashed", "stake"):
        table.add_column(heading, justify="right")
    for node in nodes:
        amounts = [format_tokens(node[key]) for key in ("payout", "slash", "stake")]
        table.add_row(node["name"], *amounts, style="red" if node["slash"] else None)
    return table
