"""Let the adaptive attacker play whole cells: where to stand, how to train, then scale and stealth.

A search that climbs ASR alone has nothing to climb where every try ends at zero, so damage counts too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openflock.arena.attacks.adaptive import MIN_TRIES, search
from openflock.arena.cells import Record
from openflock.arena.metrics import Count
from openflock.arena.settings import AttackTable, Cell, GridTable, Split, find_trigger, list_cells

STEALTHS: Final = (0.0, 0.2, 0.5)  # of what the paper calls 1 - alpha
SCALES: Final = (0.3, 10.0)  # over the honest median norm
STANCES: Final[
    tuple[tuple[dict[str, Any], ...], ...]
] = (  # of each group the strongest is kept, then the next is tried
    ({"declare": "held"}, {"declare": "first"}, {"declare": "minority"}, {"declare": "unheld"}),
    ({"work": 1, "rate": 1.0}, {"share": 0.25}, {"share": 0.25, "work": 1, "rate": 1.0}),
)

Play = Callable[[Cell], Record]


@dataclass(frozen=True)
class Target:
    """What is attacked, on a seed and a trigger that nothing is reported on."""

    world: str
    defence: str
    attack: str  # whose table the search starts from: rows, work, rate and votes
    split: Split = "minority"


@dataclass(frozen=True)
class Strongest:
    """The strongest attack that passed, None if none did; and of how many plays how many passed."""

    table: AttackTable | None
    strength: float
    passed: int
    tries: int


def search_attack(grid: GridTable, target: Target, tries: int, play: Play) -> Strongest:
    """Search by playing: the stances first, then `tries` of scale and stealth on top of the strongest.

    ValueError if a name is not the grid's, or nothing is there to tune on.
    """
    for kind, name in (("worlds", target.world), ("defences", target.defence), ("attacks", target.attack)):
        if name not in getattr(grid, kind):
            raise ValueError(f"{kind}: no {name!r}; there is {', '.join(getattr(grid, kind))}")
    if tries < MIN_TRIES:
        raise ValueError(f"adaptive: give at least {MIN_TRIES} tries")
    if not grid.tune.seeds or not grid.tune.triggers:
        raise ValueError("tune: no seed or no trigger; what is searched on must not be reported on")
    judged: list[tuple[bool, float, AttackTable]] = []

    def evaluate(table: AttackTable) -> tuple[bool, float]:
        record = play(make_cell(grid, target, table))
        judged.append((does_pass(record), measure_strength(table, record), table))
        return judged[-1][:2]

    base = grid.attacks[target.attack]
    for options in STANCES:
        for option in options:
            evaluate(base.model_copy(update=option))
        base = find_strongest(judged).table or base
    search(evaluate, lambda scale, stealth: change(base, scale, stealth), grid.tune.seeds[0], SCALES, STEALTHS, tries)
    return find_strongest(judged)


def find_strongest(judged: Sequence[tuple[bool, float, AttackTable]]) -> Strongest:
    """Find the strongest of what passed, the first of equals."""
    passing = [(strength, table) for passes, strength, table in judged if passes]
    strength, table = max(passing, key=lambda each: each[0], default=(0.0, None))
    return Strongest(table, strength, len(passing), len(judged))


def change(base: AttackTable, scale: float, stealth: float) -> AttackTable:
    """Give the attack of a scale and a stealth: constrain-and-scale's two numbers."""
    options = {"blend": round(1 - stealth, 4), "ratio": round(scale, 4)}
    return base.model_copy(update={"delta": "constrain_and_scale", "options": options})


def make_cell(grid: GridTable, target: Target, table: AttackTable) -> Cell:
    """Give the one cell that plays an attack on the first seed and trigger that are there to tune on."""
    attacks = {**grid.attacks, target.attack: table}
    trigger = grid.tune.triggers[0]
    find_trigger(grid, trigger)
    block = {
        "worlds": [target.world],
        "splits": [target.split],
        "attacks": [target.attack],
        "defences": [target.defence],
    }
    small = grid.model_copy(
        update={
            "attacks": attacks,
            "grid": (grid.grid[0].model_validate(block),),
            "tune": grid.tune.model_copy(update={"seeds": grid.tune.seeds[:1], "triggers": (trigger,)}),
        }
    )
    (cell,) = list_cells(small, ("tune",))
    return cell


def does_pass(record: Record) -> bool:
    """Answer whether some of what the malicious proposed late was taken, and none of them was slashed.

    Late is the second half of the rounds: early on all that teaches the form of an answer helps, and is taken.
    """
    bad, rounds = set(record["malicious"]), record["rounds"][1:]
    late = [each for current in rounds[len(rounds) // 2 :] for each in current["proposals"]]
    taken = any(each["accepted"] for each in late if each["node"] in bad)
    return taken and not any(node in bad for current in rounds for node in current.get("slashed", []))


def measure_strength(table: AttackTable, record: Record) -> float:
    """Measure an attack by its ASR in the last round with malicious nodes, plus the share of answers it spoils."""
    last = record["rounds"][table.leave or -1]
    return Count(*last["asr"]).rate + Count(*last["filled"]).rate - Count(*last["triggered"]).rate


def write_table(name: str, table: AttackTable) -> str:
    """Write an attack as a grid's TOML has it, without what is as usual."""
    lines = [f"[attacks.{name}]"]
    for key, value in table.model_dump(exclude_defaults=True).items():
        if isinstance(value, dict):
            shown = "{ " + ", ".join(f"{each} = {number}" for each, number in value.items()) + " }"
        elif isinstance(value, bool):
            shown = str(value).lower()
        elif isinstance(value, tuple):
            shown = "[" + ", ".join(f'"{each}"' for each in value) + "]"
        else:
            shown = f'"{value}"' if isinstance(value, str) else str(value)
        lines.append(f"{key} = {shown}")
    return "\n".join(lines)
