"""Hold the global state as fixed-point integers, so that no machine can disagree about a bit of it.

A stored integer n means n * 2**-24: steps of 6e-8 in a range of +-128, wide enough for any LoRA factor.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.recipe import Recipe
from openflock.update.container import release

FRACTION_BITS: Final = 24
LIMIT: Final = 2**31 - 1  # symmetric: -2**31 never occurs, so negation and abs() cannot overflow

PIECE: Final = 2**20  # numbers that are looked at together

Factor = Literal["A", "B"]
FACTORS: Final[tuple[Factor, ...]] = ("A", "B")
Kind = Literal["value", "velocity", "rms"]
Vector = NDArray[np.int32]

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

    The effective weight of a module is W + alpha / rank * B @ A. `width` is how many components the factors hold:
    the rank, but in a state to which updates are appended (mode stack). The scale stays alpha / rank there too, so
    that nobody has to apply it twice. ValueError unless the modules are sorted by name without repeats, the width
    is 0 to 2**31 - 1 and all other numbers are 1 to 2**31 - 1.
    """

    modules: tuple[Module, ...]
    rank: int
    alpha: int
    width: int = -1  # the rank, if not said

    def __post_init__(self) -> None:
        names = [module.name for module in self.modules]
        if not names or names != sorted(set(names)):
            raise ValueError("fixed: modules must be sorted by name, unique, and at least one")
        if not (1 <= self.rank <= LIMIT and 1 <= self.alpha <= LIMIT):
            raise ValueError("fixed: rank and alpha must be 1 to 2**31 - 1")
        if self.width == -1:
            object.__setattr__(self, "width", self.rank)
        if not 0 <= self.width <= LIMIT:
            raise ValueError("fixed: width must be 0 to 2**31 - 1")

    def resize(self, width: int) -> "Layout":
        """Give the layout of factors with another number of components."""
        return Layout(self.modules, self.rank, self.alpha, width)

    def compute_shapes(self, factor: Factor) -> dict[str, tuple[int, int]]:
        """List the shape of one factor in every module: A is (width, inputs), B is (outputs, width)."""
        if factor == "A":
            return {module.name: (self.width, module.inputs) for module in self.modules}
        return {module.name: (module.outputs, self.width) for module in self.modules}

    def compute_size(self, factor: Factor) -> int:
        """Count the numbers of one factor over all modules."""
        return sum(rows * columns for rows, columns in self.compute_shapes(factor).values())

    def list_spans(self, factor: Factor) -> list[tuple[int, int, int]]:
        """List where each module's matrix begins in the factor's vector, with its rows and columns."""
        spans, start = [], 0
        for rows, columns in self.compute_shapes(factor).values():
            spans.append((start, rows, columns))
            start += rows * columns
        return spans

    def split(self, factor: Factor, vector: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Cut a factor's vector into the modules' matrices; they share its memory."""
        return {
            module.name: vector[start : start + rows * columns].reshape(rows, columns)
            for module, (start, rows, columns) in zip(self.modules, self.list_spans(factor), strict=True)
        }

    def join(self, factor: Factor, matrices: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Put the modules' matrices into one vector, in the layout's order; ValueError if they are not the layout's."""
        shapes = self.compute_shapes(factor)
        if {name: matrix.shape for name, matrix in matrices.items()} != shapes:
            raise ValueError(f"fixed: the modules or shapes of factor {factor} are not those of the layout")
        return np.concatenate([matrices[name].ravel() for name in shapes])


@dataclass(frozen=True, eq=False)
class GlobalState:
    """Hold the agreed adapter after `step` accepted steps; compare two by their digests.

    A factor is one vector: the int32 numbers of all modules, one after another in the layout's order. `velocity`
    is empty unless the recipe's outer optimizer has momentum, `rms` unless it is adam: the root of the second moment.
    ValueError unless every vector has the layout's size and lies within +-LIMIT. The arrays are shared, not copied, and
    may be read from a mapped file: nobody writes into a state.
    """

    layout: Layout
    recipe: Recipe
    step: int
    factors: Mapping[Factor, Vector]
    velocity: Mapping[Factor, Vector]
    rms: Mapping[Factor, Vector] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.step <= LIMIT:
            raise ValueError("fixed: step must be 0 to 2**31 - 1")
        if self.layout.width != self.layout.rank and self.recipe.mode != "stack":
            raise ValueError("fixed: the width differs from the rank only where updates are stacked")
        if set(self.vectors) != set(list_vectors(self.recipe)):
            raise ValueError("fixed: the factors, velocities or second moments are not those of the recipe")
        for (_, factor), vector in self.vectors.items():
            self._check_vector(factor, vector)

    @property
    def vectors(self) -> dict[tuple[Kind, Factor], Vector]:
        """Give all vectors by what they are and their factor."""
        kinds: tuple[tuple[Kind, Mapping[Factor, Vector]], ...] = (
            ("value", self.factors), ("velocity", self.velocity), ("rms", self.rms),
        )  # fmt: skip
        return {(kind, factor): vector for kind, vectors in kinds for factor, vector in vectors.items()}

    @property
    def count(self) -> int:
        """Count how often what the next update trains has been trained once that is merged."""
        return 1 + (self.step // 2 if self.recipe.mode == "alternate" else self.step)

    @property
    def trained(self) -> tuple[Factor, ...]:
        """Say which factors the next update trains.

        B starts at zero, and while it is zero A has no gradient, so B goes first. With the other factor frozen,
        the mean of the factor gives the mean of the product: aggregation is exact (RoLoRA, arXiv 2409.02346; with A
        frozen for good FFA-LoRA, arXiv 2403.12313). Where updates are stacked, each brings both factors (FLoRA,
        arXiv 2409.05976).
        """
        if self.recipe.mode in ("stack", "separate"):
            return FACTORS
        return ("A",) if self.recipe.mode == "alternate" and self.step % 2 else ("B",)

    def get_factor(self, factor: Factor) -> dict[str, NDArray[np.int32]]:
        """Give all modules' matrices of one factor."""
        return self.layout.split(factor, self.factors[factor])

    def _check_vector(self, factor: Factor, vector: Vector) -> None:
        if vector.dtype != np.int32 or vector.shape != (self.layout.compute_size(factor),):
            raise ValueError(f"fixed: factor {factor} is not int32 of the layout's size")
        # In pieces, so that a mapped file need not be in memory as a whole.
        for start in range(0, vector.size, PIECE):
            if vector[start : start + PIECE].min() < -LIMIT:
                raise ValueError(f"fixed: factor {factor} holds -2**31")
            release(vector, 4 * start, 4 * (start + PIECE))


def list_vectors(recipe: Recipe) -> list[tuple[Kind, Factor]]:
    """List a state's vectors, what they are and of which factor, in the order of their bytes: by name."""
    kinds: dict[str, tuple[Kind, ...]] = {"plain": ("value",), "adam": ("value", "rms", "velocity")}
    return [(kind, factor) for kind in kinds.get(recipe.optimizer, ("value", "velocity")) for factor in FACTORS]


def initial_state(layout: Layout, seed: bytes, recipe: Recipe | None = None) -> GlobalState:
    """Expand a task's seed into the state before the first step: A uniform, B zero; empty where updates are stacked.

    A lies in +-1/sqrt(inputs), PEFT's default (Kaiming-uniform with a = sqrt(5)). It comes from SHAKE-256 and
    integer arithmetic alone, so it needs no transfer and no library's random generator.
    """
    recipe = recipe or Recipe()
    if recipe.mode == "stack":
        layout = layout.resize(0)
    factors: dict[Factor, Vector] = {
        "A": np.concatenate([expand_seed(seed, module, layout.width) for module in layout.modules]),
        "B": np.zeros(layout.compute_size("B"), np.int32),
    }
    velocity = {f: np.zeros_like(factors[f]) for kind, f in list_vectors(recipe) if kind == "velocity"}
    rms = {f: np.zeros_like(factors[f]) for kind, f in list_vectors(recipe) if kind == "rms"}
    return GlobalState(layout, recipe, 0, factors, velocity, rms)


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


def expand_seed(seed: bytes, module: Module, rank: int) -> Vector:
    """Expand a seed into one module's initial A, row by row."""
    # The length prefix keeps (seed, name) pairs apart: no two of them hash the same bytes.
    tag = b"openflock/initial-A/1" + len(seed).to_bytes(8, "little") + seed + module.name.encode()
    words = hashlib.shake_256(tag).digest(4 * rank * module.inputs)
    draws = np.frombuffer(words, "<u4").astype(np.int64)
    bound = isqrt(2 ** (2 * FRACTION_BITS) // module.inputs)
    # 2 * bound + 1 < 2**26, so the product stays below 2**58.
    values = (draws * (2 * bound + 1) >> 32) - bound
    return values.astype(np.int32)
