"""Let the adaptive attacker play whole cells: the strongest scale and stealth that the defence under test lets pass."""

from collections.abc import Callable
from dataclasses import dataclass

from openflock.arena.attacks.adaptive import Found, search
from openflock.arena.cells import Record
from openflock.arena.metrics import Count
from openflock.arena.settings import AttackTable, Cell, GridTable, Split, find_trigger, list_cells

STEALTHS = (0.0, 0.2, 0.5)  # of what the paper calls 1 - alpha
SCALES = (0.3, 10.0)  # over the honest median norm
LEAST_TAKEN = 0.5  # share of the malicious proposals that must be taken for an attack to have passed

Play = Callable[[Cell], Record]


@dataclass(frozen=True)
class Target:
    """What is attacked, on a seed and a trigger that nothing is reported on."""

    world: str
    defence: str
    attack: str  # whose table the search starts from: rows, work, rate and votes are kept
    split: Split = "minority"


def search_attack(grid: GridTable, target: Target, tries: int, play: Play) -> Found[AttackTable]:
    """Search by playing; ValueError if a name is not the grid's, or nothing is there to tune on."""
    for kind, name in (("worlds", target.world), ("defences", target.defence), ("attacks", target.attack)):
        if name not in getattr(grid, kind):
            raise ValueError(f"{kind}: no {name!r}; there is {', '.join(getattr(grid, kind))}")
    if not grid.tune.seeds or not grid.tune.triggers:
        raise ValueError("tune: no seed or no trigger; what is searched on must not be reported on")
    base = grid.attacks[target.attack]

    def evaluate(table: AttackTable) -> tuple[bool, float]:
        record = play(make_cell(grid, target, table))
        return does_pass(record), measure_strength(table, record)

    return search(
        evaluate, lambda scale, stealth: change(base, scale, stealth), grid.tune.seeds[0], SCALES, STEALTHS, tries
    )


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
    """Answer whether the defence took at least half of what the malicious proposed, and slashed none of them."""
    bad = set(record["malicious"])
    rounds = record["rounds"][1:]
    taken = [each["accepted"] for current in rounds for each in current["proposals"] if each["node"] in bad]
    fined = [node for current in rounds for node in current.get("slashed", []) if node in bad]
    return not fined and bool(taken) and sum(taken) >= LEAST_TAKEN * len(taken)


def measure_strength(table: AttackTable, record: Record) -> float:
    """Measure an attack by its ASR in the last round with malicious nodes."""
    return Count(*record["rounds"][table.leave or -1]["asr"]).rate


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
