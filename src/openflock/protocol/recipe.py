"""The recipe: how the updates of a round become the next state, in numbers that all nodes agree on."""

from dataclasses import asdict, dataclass, fields
from typing import Final, Literal, get_args

Mode = Literal["alternate", "ffa", "separate", "stack"]
Encoding = Literal["int8", "int4", "ternary", "sparse4"]
Aggregator = Literal["mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]
Optimizer = Literal["plain", "momentum", "nesterov", "adam"]

ONE: Final = 2**16  # of rate, momentum and decay
LOOSEST_CLIP: Final = 2000  # permille of the median norm, where updates are compared whatever their length
LONGEST_MEMORY: Final = 8  # rounds: a merge reads so many times as many numbers
YOUNGER: Final = ("decay", "memory")
COMPARING: Final = ("krum", "multi_krum", "geometric_median")
NEEDS_FAULTY: Final = ("trimmed_mean", "krum", "multi_krum")


class BadRecipe(ValueError):
    """Refuse a recipe that cannot work; the text says which field and what would."""


@dataclass(frozen=True)
class Recipe:
    """How updates become the next state; agreed through the job and carried by the state.

    The default is the weighted mean, added as it is. BadRecipe if a field is out of bounds or two contradict.
    """

    mode: Mode = "alternate"
    encoding: Encoding = "int8"
    aggregator: Aggregator = "mean"
    grouping: int = 0  # permille of the weight up to which a domain, merged for itself, counts; 0 merges all together
    mixing: bool = False  # nearest-neighbour mixing before the aggregator
    memory: int = 0  # rounds of the same factors over which proposers are compared, this one included; 0 is this one
    faulty: int = 0  # permille of the weight, or of each domain's, that may be malicious
    clip: int = 0  # permille of the round's median norm, to which longer updates are scaled down; 0 is off
    optimizer: Optimizer = "plain"
    rate: int = ONE  # outer learning rate, in 2**-16; for adam the length of a step: 131 is 2e-3
    momentum: int = 0  # in 2**-16; of adam the first beta
    decay: int = 0  # in 2**-16: the n-th step of a factor takes rate / (1 + (n - 1) * decay)

    def __post_init__(self) -> None:
        _check_types(self)
        _check_faulty(self)
        _require(0 <= self.grouping <= 1000, "grouping must be 0 to 1000 permille")
        _require(0 <= self.clip <= 1_000_000, "clip must be 0 to 1,000,000 permille")
        _check_optimizer(self)
        _check_memory(self)
        if self.mode == "stack":
            _require(self.aggregator == "mean" and not self.mixing, "mode stack only takes aggregator mean, not mixed")
            _require(not self.grouping, "mode stack only appends: grouping must be 0")
            plain = self.optimizer == "plain" and self.rate == ONE and not self.decay
            _require(plain, "mode stack only takes optimizer plain, rate 2**16, decay 0")


def compares(recipe: Recipe) -> bool:
    """Answer whether a recipe compares updates with one another; the others need norms at most."""
    return recipe.mixing or recipe.aggregator in COMPARING


def is_bounded(recipe: Recipe) -> bool:
    """Answer whether no update counts for much more than the median one, however long it is."""
    return 0 < recipe.clip <= LOOSEST_CLIP


def compute_rate(recipe: Recipe, count: int) -> int:
    """Compute the outer rate of a factor's `count`-th step, rounded down but never to nothing.

    >>> [compute_rate(Recipe(rate=300, decay=ONE // 2), count) for count in (1, 2, 3, 10**6)]
    [300, 200, 150, 1]
    """
    return max(1, recipe.rate * ONE // (ONE + (count - 1) * recipe.decay))


def describe_recipe(recipe: Recipe) -> dict[str, int | str]:
    """Write a recipe's fields; the younger ones only where they are set: states and jobs without have digests."""
    return {name: value for name, value in asdict(recipe).items() if name not in YOUNGER or value}


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise BadRecipe(f"recipe: {reason}")


def _check_types(recipe: Recipe) -> None:
    for field in fields(recipe):
        value, choices = getattr(recipe, field.name), get_args(field.type)
        if choices:
            _require(value in choices, f"{field.name} must be one of {', '.join(choices)}")
        else:
            kind = "an integer" if field.type is int else "true or false"
            _require(type(value) is field.type, f"{field.name} must be {kind}")


def _check_faulty(recipe: Recipe) -> None:
    _require(0 <= recipe.faulty <= 499, "faulty must be 0 to 499 permille: nothing withstands half")
    if recipe.mixing or recipe.aggregator in NEEDS_FAULTY:
        what = "mixing" if recipe.mixing else recipe.aggregator
        _require(recipe.faulty > 0, f"{what} needs faulty above 0: the share of weight that it withstands")


def _check_memory(recipe: Recipe) -> None:
    _require(
        recipe.memory == 0 or 2 <= recipe.memory <= LONGEST_MEMORY, f"memory must be 0 or 2 to {LONGEST_MEMORY} rounds"
    )
    _require(not recipe.memory or compares(recipe), "memory needs mixing, or an aggregator that compares updates")
    _require(
        not recipe.memory or is_bounded(recipe),
        f"memory needs a clip of 1 to {LOOSEST_CLIP} permille: directions leave lengths aside",
    )


def _check_optimizer(recipe: Recipe) -> None:
    _require(1 <= recipe.rate <= 2**18, "rate must be 1 to 2**18 (2**16 is 1.0)")
    _require(0 <= recipe.momentum < ONE, "momentum must be 0 to 2**16 - 1 (2**16 is 1.0)")
    _require(0 <= recipe.decay <= ONE, "decay must be 0 to 2**16: at that the second step's rate is half the first's")
    if recipe.optimizer == "adam":
        _require(recipe.rate <= ONE // 16, "rate must be at most 2**12 where the optimizer is adam: 131 is 2e-3")
    if recipe.optimizer == "plain":
        _require(recipe.momentum == 0, "momentum must be 0 where the optimizer is plain")
