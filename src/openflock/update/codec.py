"""Turn updates and states into canonical bytes and back: one update, one digest.

An update is a delta of the factors that its round trains, each a vector in the layout's order, held as
compress.py says. A state is the int32 vectors themselves, module by module, so that any safetensors reader finds the
matrices.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, get_args
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.ports import Blob
from openflock.protocol.recipe import Encoding, Mode, Recipe, describe_recipe
from openflock.update.compress import FORMS, Bytes, expand, find_fault, quantize
from openflock.update.container import Malformed, Spec, build_header, pack, read_header, release, unpack
from openflock.update.fixed import (
    FACTORS,
    LIMIT,
    PIECE,
    Factor,
    GlobalState,
    Kind,
    Layout,
    Module,
    Vector,
    list_vectors,
)

_DIGEST_SIZE: Final = 32
_BLOCKS: Final = 2**14  # that are expanded or checked together
_digests: WeakKeyDictionary[GlobalState, bytes] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Coded:
    """Hold one factor's delta: scales (blocks,), codes (blocks, bytes of a block)."""

    scales: Bytes
    codes: Bytes


@dataclass(frozen=True, eq=False)
class Update:
    """Offer a delta of the state whose digest is `parent`; in mode stack, components to append."""

    parent: bytes
    layout: Layout
    encoding: Encoding
    parts: Mapping[Factor, Coded]

    def read(self, factor: Factor, start: int, stop: int) -> NDArray[np.float64]:
        """Give the numbers start to stop of a factor's delta: integers below 2**25 in units of 2**-24."""
        form = FORMS[self.encoding]
        first, last = start // form.block, -(-stop // form.block)
        part = self.copy_blocks(factor, first, last)
        numbers = np.empty((last - first) * form.block)
        expand(form, part.scales, part.codes, numbers)
        return numbers[start - first * form.block : stop - first * form.block]

    def copy_blocks(self, factor: Factor, first: int, last: int) -> Coded:
        """Copy the blocks first to last of a factor; of a mapped file no more than them is in memory."""
        part = self.parts[factor]
        copied = Coded(part.scales[first:last].copy(), part.codes[first:last].copy())
        self.release(factor, first, last)
        return copied

    def release(self, factor: Factor, first: int, last: int) -> None:
        """Let go of the memory that reading the blocks first to last took, where the update is a mapped file."""
        part, size = self.parts[factor], FORMS[self.encoding].size
        release(part.codes, first * size, last * size)
        release(part.scales, first, last)


def digest(blob: Blob) -> bytes:
    """Address bytes by their SHA-256."""
    return hashlib.sha256(blob).digest()


def hash_stream(parts: Iterable[Blob]) -> bytes:
    """Hash what the parts make up, holding one of them at a time."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(part)
    return hasher.digest()


# --- Updates -------------------------------------------------------------------------------------------------


def make_update(state: GlobalState, delta: Mapping[Factor, NDArray[Any]]) -> Update:
    """Round a delta, by factor a vector in units of 2**-24, to an update of a state.

    In mode stack the size of the vectors says how many components they hold. ValueError if a vector has not the
    layout's size or is beyond what the recipe's encoding holds.
    """
    if set(delta) != set(state.trained):
        raise ValueError(f"codec: an update of this state trains {' and '.join(state.trained)}")
    layout = state.layout
    if state.recipe.mode == "stack":
        layout = layout.resize(delta["A"].size // layout.resize(1).compute_size("A"))
    if any(vector.shape != (layout.compute_size(factor),) for factor, vector in delta.items()):
        raise ValueError("codec: a delta has not the layout's size")
    parts = {factor: _quantize(state.recipe.encoding, vector) for factor, vector in delta.items()}
    return Update(get_digest(state), layout, state.recipe.encoding, parts)


def _quantize(encoding: Encoding, vector: NDArray[Any]) -> Coded:
    form = FORMS[encoding]
    blocks = -(-vector.size // form.block)
    coded = Coded(np.empty(blocks, np.uint8), np.empty((blocks, form.size), np.uint8))
    for start in range(0, blocks, _BLOCKS):
        stop = min(start + _BLOCKS, blocks)
        piece = vector[start * form.block : stop * form.block]
        coded.scales[start:stop], coded.codes[start:stop] = quantize(form, piece)
    return coded


def encode_update(update: Update) -> bytes:
    """Encode an update canonically."""
    arrays: dict[str, NDArray[Any]] = {}
    for factor, part in update.parts.items():
        arrays |= {f"{factor}.scales": part.scales, f"{factor}.codes": part.codes}
    return pack(_describe_update(update.parent, update.layout.width, update.encoding), arrays)


def decode_update(state: GlobalState, blob: Blob, parent: bytes | None = None) -> Update:
    """Decode an update of a state; Malformed unless encoding it gives `blob` again.

    `parent` is the digest of the state that it is of, if that is an earlier one which trained the same factors.
    """
    parent = parent or get_digest(state)
    layout, encoding = get_update_layout(state, _read_width(state, blob)), state.recipe.encoding
    metadata = _describe_update(parent, layout.width, encoding)
    arrays = unpack(blob, metadata, _list_update_specs(layout, encoding, state.trained))
    parts = {factor: Coded(arrays[f"{factor}.scales"], arrays[f"{factor}.codes"]) for factor in state.trained}
    update = Update(parent, layout, encoding, parts)
    for factor in state.trained:
        _check_part(update, factor)
    return update


def get_update_layout(state: GlobalState, width: int | None = None) -> Layout:
    """Give the layout of an update of a state: of its own width in mode stack, of the state's elsewhere."""
    return state.layout.resize(width or state.layout.rank) if state.recipe.mode == "stack" else state.layout


def max_update_size(state: GlobalState) -> int:
    """Count the bytes of the largest update that any round of this task can bring: nobody needs to fetch one more."""
    layout, encoding = get_update_layout(state), state.recipe.encoding
    rounds: dict[Mode, list[tuple[Factor, ...]]] = {
        "stack": [FACTORS],
        "separate": [FACTORS],
        "ffa": [("B",)],
        "alternate": [("A",), ("B",)],
    }
    return max(_compute_update_size(layout, encoding, factors) for factors in rounds[state.recipe.mode])


def _check_part(update: Update, factor: Factor) -> None:
    form, part, size = FORMS[update.encoding], update.parts[factor], update.layout.compute_size(factor)
    for start in range(0, len(part.scales), _BLOCKS):
        stop = start + _BLOCKS
        fault = find_fault(form, part.scales[start:stop], part.codes[start:stop], size - start * form.block)
        if fault:
            raise Malformed(f"{factor}: {fault}")
        update.release(factor, start, stop)


def _read_width(state: GlobalState, blob: Blob) -> int | None:
    # Unpack compares the whole header with the one that this width gives, so nothing else of it is believed.
    if state.recipe.mode != "stack":
        return None
    metadata = read_header(blob).get("__metadata__")
    text = metadata.get("width") if isinstance(metadata, dict) else None
    width = int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 10 else 0
    if not 1 <= width <= state.layout.rank:
        raise Malformed(f"width {text!r:.40} is not 1 to {state.layout.rank}")
    return width


def _describe_update(parent: bytes, width: int, encoding: Encoding) -> dict[str, str]:
    return {"openflock": "update/2", "parent": parent.hex(), "width": str(width), "encoding": encoding}


def _list_update_specs(layout: Layout, encoding: Encoding, factors: Iterable[Factor]) -> dict[str, Spec]:
    form = FORMS[encoding]
    specs: dict[str, Spec] = {}
    for factor in factors:
        blocks = -(-layout.compute_size(factor) // form.block)
        specs |= {f"{factor}.scales": Spec("U8", (blocks,)), f"{factor}.codes": Spec("U8", (blocks, form.size))}
    return specs


def _compute_update_size(layout: Layout, encoding: Encoding, factors: Iterable[Factor]) -> int:
    specs = _list_update_specs(layout, encoding, factors)
    header = build_header(_describe_update(bytes(_DIGEST_SIZE), layout.width, encoding), specs)
    return len(header) + sum(spec.compute_size() for spec in specs.values())


# --- States --------------------------------------------------------------------------------------------------


def encode_state(state: GlobalState) -> bytes:
    """Encode a state with its layout and recipe; its digest names the state on the ledger."""
    return b"".join(stream_state(state))


def stream_state(state: GlobalState) -> Iterator[Blob]:
    """Give a state's bytes in pieces."""
    yield build_state_header(state.layout, state.recipe, state.step)
    vectors = state.vectors
    for name in list_vectors(state.recipe):
        yield from stream_vector(vectors[name])


def stream_vector(vector: Vector) -> Iterator[Blob]:
    """Give a vector's bytes in pieces, and let go of the memory that a mapped file took for each."""
    for start in range(0, vector.size, PIECE):
        yield to_bytes(vector[start : start + PIECE])
        release(vector, 4 * start, 4 * (start + PIECE))


def to_bytes(vector: Vector) -> Blob:
    """Give a vector's little-endian bytes, without a copy where that is possible."""
    return np.ascontiguousarray(vector, "<i4").view(np.uint8).data


def max_state_size(first: GlobalState, merges: int, updates: int) -> int:
    """Count the bytes of the largest state that so many merges, each of so many updates, can make of the first one."""
    layout, recipe = first.layout, first.recipe
    if recipe.mode == "stack":
        layout = layout.resize(min(LIMIT, layout.width + merges * updates * layout.rank))
    numbers = sum(layout.compute_size(factor) for _, factor in list_vectors(recipe))
    return len(build_state_header(layout, recipe, LIMIT)) + 4 * numbers


def get_digest(state: GlobalState) -> bytes:
    """Give the digest of a state's bytes, computed once: nobody writes into a state."""
    if state not in _digests:
        _digests[state] = hash_stream(stream_state(state))
    return _digests[state]


def decode_state(blob: Blob, known: bytes | None = None) -> GlobalState:
    """Decode a state from its bytes alone; Malformed unless encoding it gives `blob` again.

    `known` is the digest, where the caller has checked it already.
    """
    header = read_header(blob)
    try:
        layout, recipe, step = _read_layout(header)
        offset = len(build_state_header(layout, recipe, step))
    except (KeyError, TypeError, ValueError):  # a short header may stand for one over the limit
        raise Malformed("the header does not describe a state") from None
    unpack(blob, _describe_state(layout, recipe, step), _list_state_specs(layout, recipe))
    vectors: dict[Kind, dict[Factor, Vector]] = {kind: {} for kind in get_args(Kind)}
    for kind, factor in list_vectors(recipe):
        size = layout.compute_size(factor)
        vectors[kind][factor] = np.frombuffer(blob, "<i4", size, offset)
        offset += 4 * size
    try:
        state = GlobalState(layout, recipe, step, vectors["value"], vectors["velocity"], vectors["rms"])
    except ValueError as error:
        raise Malformed(str(error)) from None
    if known is not None:
        _digests[state] = known
    return state


def build_state_header(layout: Layout, recipe: Recipe, step: int) -> bytes:
    """Write the header of a state's bytes."""
    return build_header(_describe_state(layout, recipe, step), _list_state_specs(layout, recipe))


def _describe_state(layout: Layout, recipe: Recipe, step: int) -> dict[str, str]:
    numbers = {"rank": layout.rank, "alpha": layout.alpha, "width": layout.width, "step": step}
    agreed = {
        f"recipe.{name}": int(value) if isinstance(value, bool) else value
        for name, value in describe_recipe(recipe).items()
    }
    return {"openflock": "state/2", **{name: str(value) for name, value in (numbers | agreed).items()}}


def _list_state_specs(layout: Layout, recipe: Recipe) -> dict[str, Spec]:
    return {
        f"{'' if kind == 'value' else f'{kind}.'}{factor}.{name}": Spec("I32", shape)
        for kind, factor in list_vectors(recipe)
        for name, shape in layout.compute_shapes(factor).items()
    }


def _read_layout(header: dict[str, Any]) -> tuple[Layout, Recipe, int]:
    # Takes what it needs and no more: unpack then compares the whole header with the one this layout gives.
    metadata = header["__metadata__"]
    modules = []
    for name in sorted(name.removeprefix("A.") for name in header if name.startswith("A.")):
        (_, inputs), (outputs, _) = header[f"A.{name}"]["shape"], header[f"B.{name}"]["shape"]
        if not isinstance(inputs, int) or not isinstance(outputs, int):
            raise TypeError(name)
        modules.append(Module(name, outputs, inputs))
    agreed: dict[str, Any] = {
        field.name: field.type(_read_number(text)) if field.type in (int, bool) else text
        for field in fields(Recipe)
        if (text := metadata.get(f"recipe.{field.name}")) is not None
    }
    rank, alpha, width, step = (_read_number(metadata[key]) for key in ("rank", "alpha", "width", "step"))
    return Layout(tuple(modules), rank, alpha, width), Recipe(**agreed), step


def _read_number(text: str) -> int:
    if len(text) > 10:  # cheaper than letting int() try
        raise ValueError("number too long")
    return int(text)
