"""Profits: what every strategy earns, with intervals over seeds, and what must hold of it."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from openflock.arena.economy.market import Market, Played
from openflock.arena.economy.scenarios import (
    COALITION_ROLE,
    MINORITY,
    POOL,
    SCENARIOS,
    SEALED,
    Scenario,
    build_players,
)
from openflock.arena.economy.scene import Figures
from openflock.arena.economy.strategies import SPECIALIST
from openflock.arena.statistics import Interval, compute_bootstrap, pair
from openflock.protocol.recipe import Recipe
from openflock.protocol.rules import Rules

AMOUNTS = ("earned", "lost", "cost", "profit")
SPLIT = "Sybil: one node's work under four names"
Line = dict[str, Any]  # one task: scenario, seed, and each role's amounts
Lines = Mapping[str, Mapping[int, Line]]  # by scenario and seed


# --- Playing -------------------------------------------------------------------------------------------------


def open_market(
    scenario: Scenario, numbers: Mapping[str, int], recipe: Recipe, rounds: int, seed: int, figures: Figures
) -> Market:
    """Open a task under the given rules and recipe; the same seed plays the same task."""
    named = {name: bytes(31) + b"\1" for name in ("base", "job", "genesis")}
    derived = {"domains": figures.domains, "min_nodes": 4}
    chosen: dict[str, Any] = {**named, **derived, **numbers, **scenario.rules, "rounds": rounds}
    changed: dict[str, Any] = dict(scenario.figures)
    players = build_players(scenario, seed)
    figures = replace(figures, **changed)
    return Market(Rules(**chosen), recipe, players, figures, POOL * rounds, seed, sealed=scenario.sealed)


def describe(scenario: Scenario, played: Played, rounds: int, seed: int) -> Line:
    """Write one task as a line: amounts are tokens a round for each 100 tokens that a role staked."""
    return {
        "scenario": scenario.name,
        "seed": seed,
        "rounds": rounds,
        "roles": sum_roles(played, rounds),
        "outcomes": dict(played.outcomes),
        "verdicts": {f"{role}: {verdict}": count for (role, verdict), count in sorted(played.verdicts.items())},
        "slashed": {f"{role}: {fault}": amount for (role, fault), amount in sorted(played.slashed.items())},
    }


def sum_roles(played: Played, rounds: int) -> dict[str, dict[str, float]]:
    """Sum up each role."""
    stakes: dict[str, float] = {}
    sums: dict[str, dict[str, float]] = {}
    for result in played.results:
        stakes[result.role] = stakes.get(result.role, 0) + result.stake
        role = sums.setdefault(result.role, dict.fromkeys(AMOUNTS, 0.0))
        for name in AMOUNTS:
            role[name] += getattr(result, name)
    return {
        role: {name: 100 * amount / stakes[role] / rounds for name, amount in amounts.items()}
        for role, amounts in sums.items()
    }


# --- Judging -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finding:
    """What came of one scenario's subject; `advantage` is over the same seats held honestly."""

    scenario: str
    role: str
    earned: Interval
    lost: Interval
    cost: Interval
    profit: Interval
    advantage: Interval | None
    merged: float  # share of rounds that moved the state
    rejected: float  # share of honest proposals that were not merged


@dataclass(frozen=True)
class Demand:
    """One thing that must hold, and whether it does."""

    name: str
    value: float
    goal: str
    met: bool


def find_all(lines: Lines, scenarios: Iterable[Scenario] = SCENARIOS) -> list[Finding]:
    """Sum up all scenarios: their subject, and where nobody cheats every role."""
    findings = []
    for scenario in scenarios:
        first = next(iter(lines[scenario.name].values()))
        for role in [scenario.subject] if scenario.versus else sorted(first["roles"]):
            findings.append(find(lines, scenario, role))
    return findings


def find(lines: Lines, scenario: Scenario, role: str) -> Finding:
    """Sum one role of a scenario up over seeds."""
    mine = {name: _collect(lines, scenario.name, role, name) for name in AMOUNTS}
    earned, lost, cost, profit = (compute_bootstrap(list(mine[name].values())) for name in AMOUNTS)
    shares = (_share_merged(lines[scenario.name].values()), _share_rejected(lines[scenario.name].values(), scenario))
    if not scenario.versus:
        return Finding(scenario.name, role, earned, lost, cost, profit, None, *shares)
    honest = {name: _collect(lines, scenario.versus, role, name) for name in AMOUNTS}
    advantage = compute_bootstrap(pair(mine["profit"], honest["profit"]))
    return Finding(scenario.name, role, earned, lost, cost, profit, advantage, *shares)


def _collect(lines: Lines, scenario: str, role: str, amount: str) -> dict[Hashable, float]:
    return {seed: line["roles"][role][amount] for seed, line in lines[scenario].items()}


def _share_merged(lines: Iterable[Line]) -> float:
    outcomes = sum((Counter(line["outcomes"]) for line in lines), Counter[str]())
    return outcomes["MERGED"] / outcomes.total()


def _share_rejected(lines: Iterable[Line], scenario: Scenario) -> float:
    verdicts: Counter[str] = sum((Counter(line["verdicts"]) for line in lines), Counter[str]())
    cheats = {scenario.subject if scenario.versus else "", COALITION_ROLE if scenario.coalition != SPECIALIST else ""}
    honest = [(name, count) for name, count in verdicts.items() if name.split(": ")[0] not in cheats]
    return sum(count for name, count in honest if not name.endswith("PAID")) / sum(count for _, count in honest)


def demand_all(findings: Sequence[Finding]) -> list[Demand]:
    """State what must hold: cheating earns less than honesty in the same seats, and honesty more than staying away."""
    demands = []
    for finding in findings:
        if finding.advantage is not None:
            split = finding.scenario == SPLIT
            goal = "<= 0" if split else "< 0"
            high = finding.advantage.high
            name = f"{finding.scenario}: profit over honesty, upper bound"
            demands.append(Demand(name, high, goal, high <= 0 if split else high < 0))
        elif is_demanded(finding):
            low = finding.profit.low
            demands.append(Demand(f"{finding.scenario}: {finding.role}, lower bound of profit", low, "> 0", low > 0))
    return demands


def is_demanded(finding: Finding) -> bool:
    """Answer whether an honest role must gain: all must, a domain's only holder once there are more or sealed rows."""
    return finding.role != MINORITY or any(more in finding.scenario for more in ("hold the third domain", SEALED))


def to_line(finding: Finding) -> Line:
    """Write a finding for a file."""
    return asdict(finding)
