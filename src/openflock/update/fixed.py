"""Hold the global state as fixed-point integers, so that no machine can disagree about a bit of it.

A stored integer n means n * 2**-24: steps of 6e-8 in a range of +-128, wide enough for any LoRA factor.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

FRACTION_BITS: Final = 24
LIMIT: Final = 2**31 - 1  # symmetric: -2**31 never occurs, so negation and abs() cannot overflow

Factor = Literal["A", "B"]

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,256}")  # has one spelling in JSON, in hashes and in file names


@dataclass(frozen=True)
class Module:
    """Name one linear layer of the base that carries an adapter, with its sizes."""

    name: str
    outputs: int
    inputs: int

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"fixed: module name {self.name[:80]!r} is not 1 to 256 of [A-Za-z0-9_.-]")
        if not (1 <= self.outputs <= LIMIT and 1 <= self.inputs <= LIMIT):
            raise ValueError(f"fixed: module {self.name} has a size that is not 1 to 2**31 - 1")


@dataclass(frozen=True)
class Layout:
    """Say which modules carry an adapter, and of what rank; all nodes of a task agree on it.

    The effective weight of a module is W + alpha / rank * B @ A. ValueError unless the modules are sorted by
    name without repeats and all numbers are 1 to 2**31 - 1.
    """

    modules: tuple[Module, ...]
    rank: int
    alpha: int

    def __post_init__(self) -> None:
        names = [module.name for module in self.modules]
        if not names or names != sorted(set(names)):
            raise ValueError("fixed: modules must be sorted by name, unique, and at least one")
        if not (1 <= self.rank <= LIMIT and 1 <= self.alpha <= LIMIT):
            raise ValueError("fixed: rank and alpha must be 1 to 2**31 - 1")

    def compute_shapes(self, factor: Factor) -> dict[str, tuple[int, int]]:
        """List the shape of one factor in every module: A is (rank, inputs), B is (outputs, rank)."""
        if factor == "A":
            return {module.name: (self.rank, module.inputs) for module in self.modules}
        return {module.name: (module.outputs, self.rank) for module in self.modules}


@dataclass(frozen=True, eq=False)
class GlobalState:
    """Hold the agreed adapter after `step` accepted steps; compare two by their digests.

    ValueError unless A and B hold exactly the layout's modules as int32 arrays of the right shapes within
    +-LIMIT. The arrays are shared, not copied: nobody writes into a state.
    """

    layout: Layout
    step: int
    A: Mapping[str, NDArray[np.int32]]
    B: Mapping[str, NDArray[np.int32]]

    def __post_init__(self) -> None:
        if not 0 <= self.step <= LIMIT:
            raise ValueError("fixed: step must be 0 to 2**31 - 1")
        for factor in ("A", "B"):
            self._check_factor(factor)

    def get_factor(self, factor: Factor) -> Mapping[str, NDArray[np.int32]]:
        """Give all modules' arrays of one factor."""
        return self.A if factor == "A" else self.B

    def _check_factor(self, factor: Factor) -> None:
        arrays, shapes = self.get_factor(factor), self.layout.compute_shapes(factor)
        if arrays.keys() != shapes.keys():
            raise ValueError(f"fixed: the modules of factor {factor} are not those of the layout")
        for name, shape in shapes.items():
            if arrays[name].dtype != np.int32 or arrays[name].shape != shape:
                raise ValueError(f"fixed: {name} of factor {factor} is not int32 of shape {shape}")
            if arrays[name].min() < -LIMIT:
                raise ValueError(f"fixed: {name} of factor {factor} holds -2**31")


def trained_factor(step: int) -> Factor:
    """Say which factor the next update trains after `step` accepted steps.

    B starts at zero, and while it is zero A has no gradient, so B goes first. With the other factor frozen,
    the mean of the factor gives the mean of the product: aggregation is exact (RoLoRA, arXiv 2409.02346).
    """
    return "B" if step % 2 == 0 else "A"


def initial_state(layout: Layout, seed: bytes) -> GlobalState:
    """Expand a task's seed into the state before the first step: A uniform, B zero.

    A lies in +-1/sqrt(inputs), PEFT's default (Kaiming-uniform with a = sqrt(5)). It comes from SHAKE-256 and
    integer arithmetic alone, so it needs no transfer and no library's random generator.
    """
    shapes = layout.compute_shapes("B")
    return GlobalState(
        layout,
        step=0,
        A={module.name: _expand_seed(seed, module, layout.rank) for module in layout.modules},
        B={name: np.zeros(shape, np.int32) for name, shape in shapes.items()},
    )


def to_float(values: NDArray[np.int32]) -> NDArray[np.float32]:
    """Convert fixed-point integers to float32, rounded half-even once (float32 keeps 24 of 31 bits)."""
    return values.astype(np.float32) * np.float32(2**-FRACTION_BITS)


def to_fixed(values: NDArray[np.floating[Any]]) -> NDArray[np.int32]:
    """Convert floats to fixed-point integers, rounded half-even, saturating at +-LIMIT.

    ValueError on NaN or infinity.
    """
    if not np.isfinite(values).all():
        raise ValueError("fixed: a value is not finite")
    edge = LIMIT * 2.0**-FRACTION_BITS  # clip before scaling: the product of a huge float would overflow
    clipped = np.clip(values.astype(np.float64), -edge, edge)
    return np.rint(clipped * 2.0**FRACTION_BITS).astype(np.int32)


def divide_half_even(numerator: NDArray[np.int64], denominator: int | NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide integers, rounding to the nearest and a tie to the even neighbour.

    The denominator, 1 to 2**62, may be an array that broadcasts against the numerator. Half-even has no drift
    that many rounds could add up.
    """
    quotient = numerator // denominator
    twice = 2 * (numerator - quotient * denominator)  # in [0, 2 * denominator): floor division
    is_up = (twice > denominator) | ((twice == denominator) & (quotient % 2 == 1))
    rounded: NDArray[np.int64] = quotient + is_up
    return rounded


def _expand_seed(seed: bytes, module: Module, rank: int) -> NDArray[np.int32]:
    # The length prefix keeps (seed, name) pairs apart: no two of them hash the same bytes.
    tag = b"openflock/initial-A/1" + len(seed).to_bytes(8, "little") + seed + module.name.encode()
    words = hashlib.shake_256(tag).digest(4 * rank * module.inputs)
    draws = np.frombuffer(words, "<u4").astype(np.int64)
    bound = isqrt(2 ** (2 * FRACTION_BITS) // module.inputs)
    # 2 * bound + 1 < 2**26, so the product stays below 2**58.
    values = (draws * (2 * bound + 1) >> 32) - bound
    return values.astype(np.int32).reshape(rank, module.inputs)
