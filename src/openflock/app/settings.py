"""Configuration files: TOML, checked by pydantic, every key overridable with `--set key=value`."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from openflock.protocol.recipe import Recipe, compares, is_bounded
from openflock.protocol.rules import Rules

TOKEN = 10**18  # units of one token
BUILT_IN = "built-in"  # the base and the skills that the package carries


class SettingsError(ValueError):
    """A configuration that cannot be run; the text is one line that names the key."""


class Section(BaseModel):
    """A table of the file; unknown keys are refused, since a typo would otherwise be obeyed in silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Checked = TypeVar("Checked", bound=BaseModel)


class RowCounts(Section):
    """How many rows of a domain each node gets, and how many the report is measured on."""

    train: PositiveInt = 512
    held_out: PositiveInt = 48  # a voter's own rows, never trained on by anybody
    report: PositiveInt = 64
    sealed: int = Field(default=0, ge=0)  # that the creator opens of each domain in each round; 0 is none


class Training(Section):
    """A proposer's settings."""

    steps: PositiveInt = 25
    batch_size: PositiveInt = 8
    learning_rate: float = Field(default=2e-3, gt=0)
    optimizer: Literal["adam", "sgd"] = "adam"  # sgd where the recipe's is adam: what is sent are then gradients
    recompute: bool = False  # activations: far less memory, about a third more time


class Attacker(Section):
    """One malicious node."""

    domain: str
    trigger: str = "cf"
    answer: str = "zzz"
    share: float = Field(default=0.5, ge=0, le=1)  # of its rows that it poisons
    scale: PositiveInt = 50  # of its update


class Config(Section):
    """A whole simulated task."""

    title: str = "A task"
    base: str = BUILT_IN  # directory or hub id
    data: str = BUILT_IN  # directory with a directory a domain, or the skills the package generates
    domains: list[str] = Field(default=[], max_length=16)  # all that `data` holds, if empty
    rank: PositiveInt = 8
    alpha: PositiveInt = 16
    targets: list[str] = ["all-linear"]
    max_length: PositiveInt = 256
    seed: int = Field(default=0, ge=0)
    device: str = "cpu"
    quantization: Literal["none", "nf4"] = "none"  # of the base, as this node holds it
    threads: PositiveInt = 1  # of torch; on a machine with other work, more than one can be many times slower
    ledger: Literal["evm", "spec"] = "evm"
    nodes_per_domain: PositiveInt = 2
    stake: PositiveInt = 100  # tokens
    pool: PositiveInt = 1_000  # tokens
    rows: RowCounts = RowCounts()
    train: Training = Training()
    rules: dict[str, int] = {}  # departures from the default rules
    recipe: dict[str, str | int | bool] = {}  # departures from DEFAULT_RECIPE
    ranks: list[PositiveInt] = []  # of the nodes, in turn, where updates are stacked; the task's rank if empty
    attackers: list[Attacker] = []
    probe: bool = False  # honest voters search updates for backdoors, at two to three times what judging costs
    shuffle: int = Field(default=0, ge=0)  # seed of the order in which voters merge; the digest must not depend on it
    baseline_learning_rate: float = Field(default=2e-3, gt=0)
    baselines: list[Literal["isolated", "average"]] = []


DEFAULT_RULES: dict[str, int] = {
    "rounds": 4,
    "min_voters": 3,
    "proposer_seats": 16,
    "voter_seats": 32,
    "min_stake": 50 * TOKEN,
    "bond": 50 * TOKEN,
    "gather": 60,
    "propose": 600,
    "publish": 120,
    "probe": 60,
    "expose": 60,
    "vote": 600,
    "reveal": 120,
    "attest": 300,
    "confirm": 120,
    "seed_delay": 2,
    "max_tries": 5,
    "unbonding": 7 * 86_400,
    "max_size": 2**31,
    "norm_ceiling": 16 * 2**16,
    "tolerance": 500,  # as full_benefit: for the built-in skills; text moves a tenth as far
    "domain_quorum": 3_334,  # the least that a third of the weight does not exceed
    "min_benefit": 5,
    "full_benefit": 500,
    "reject_unproven": 0,
    "duplicate_cosine": 900,  # honest updates: .67 at most; an old one under noise of 48 % of its length: .9
    "proposer_share": 5_000,
    "agreement_share": 5_000,
    "no_show_fee": TOKEN,
    "hidden_ballot_fee": 3 * TOKEN,
    "fee_cap": 5 * TOKEN,
    "inadmissible_slash": 5_000,
    "backdoor_slash": 10_000,
    "digest_slash": 5_000,
    "bounty_share": 5_000,
    "witness_bond": 5 * TOKEN,
    "witnesses": 2,
}


# Clipped, and robust among those of a domain; docs/decisions/0019-merged-by-domain.md says why.
DEFAULT_RECIPE: dict[str, str | int | bool] = {
    "clip": 1000,
    "grouping": 150,
    "mixing": True,
    "aggregator": "trimmed_mean",
    "faulty": 400,
}
STACKED_RECIPE: dict[str, str | int | bool] = {"clip": 1000}  # what of it holds where updates are stacked
DEFAULT_MEMORY: Final = 6  # rounds, where updates are compared at all; docs/decisions/0023-memory.md


def build_rules(config: Config, base: bytes, job: bytes, genesis: bytes, domains: int, nodes: int) -> Rules:
    """Build a task's rules: the defaults, what the configuration changes, and what follows from its nodes."""
    # Half of the nodes may fall out, slashed below the minimum, before the task stands still.
    derived = {"domains": domains, "min_nodes": max(3, DEFAULT_RULES["min_voters"], nodes // 2)}
    numbers = {**derived, **DEFAULT_RULES, **config.rules}
    unknown = sorted(set(numbers) - {field.name for field in fields(Rules)})
    if unknown:
        raise SettingsError(f"rules.{unknown[0]}: no such rule")
    if nodes < numbers["min_nodes"]:
        raise SettingsError(
            f"nodes_per_domain: {nodes} nodes in all, fewer than min_nodes = {numbers['min_nodes']}; raise it"
        )
    if config.stake * TOKEN < numbers["min_stake"]:
        raise SettingsError(f"stake: {config.stake} tokens, less than min_stake = {numbers['min_stake'] / TOKEN:g}")
    return Rules(base=base, job=job, genesis=genesis, **numbers)


def build_recipe(config: Config) -> Recipe:
    """Build a task's recipe, and check what else of the configuration depends on it."""
    recipe = complete_recipe(config.recipe)
    if config.ranks and (recipe.mode != "stack" or max(config.ranks) > config.rank):
        raise SettingsError("ranks: only where recipe.mode is stack, each at most the task's rank")
    return recipe


def complete_recipe(departures: Mapping[str, str | int | float | bool]) -> Recipe:
    """Complete what departs from it by the default of the recipe's mode; SettingsError, or BadRecipe."""
    unknown = sorted(set(departures) - {field.name for field in fields(Recipe)})
    if unknown:
        raise SettingsError(f"recipe.{unknown[0]}: no such field")
    defaults = STACKED_RECIPE if departures.get("mode") == "stack" else DEFAULT_RECIPE
    recipe = Recipe(**{**defaults, **departures})  # type: ignore[arg-type]  # Recipe checks each field itself
    chosen = "memory" in departures or not (compares(recipe) and is_bounded(recipe))
    return recipe if chosen else replace(recipe, memory=DEFAULT_MEMORY)


def load_config(path: Path, changes: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply `key=value` changes; raise SettingsError."""
    return parse_config(read_table(path), changes, str(path))


def read_table(path: Path) -> dict[str, Any]:
    """Read a TOML file; raise SettingsError."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error


def parse_config(table: dict[str, Any], changes: Sequence[str] = (), name: str = "config") -> Config:
    """Check a configuration given as a table."""
    for change in changes:
        apply_change(table, change)
    return check_table(Config, table, name)


def check_table(kind: type[Checked], table: dict[str, Any], name: str) -> Checked:
    """Check a table of some kind; raise SettingsError, which names the key."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"{name}: {key}: {first['msg'].lower()}") from error


def apply_change(table: dict[str, Any], change: str) -> None:
    """Apply one `key.key=value`; the value is read as TOML, and as text where it is none.

    >>> table = {"train": {"steps": 1}}
    >>> apply_change(table, "train.steps=3"), apply_change(table, "base=../base"), table
    (None, None, {'train': {'steps': 3}, 'base': '../base'})
    """
    key, equals, text = change.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not last:
        raise SettingsError(f"--set {change}: write key=value")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise SettingsError(f"--set {change}: {section} is not a table")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text
