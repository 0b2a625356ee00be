"""Turn updates and states into canonical bytes and back: one update, one digest.

An update is a delta of the trained factor. Each row of the delta is int8 numbers q under one exponent e,
meaning q * 2**e units of 2**-24. Exactly one form is legal for a delta: e = 0 or some |q| >= 64, never -128.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openflock.update.container import Blob, Malformed, Spec, build_header, pack, read_header, unpack
from openflock.update.fixed import Factor, GlobalState, Layout, Module, divide_half_even

MAX_EXPONENT: Final = 24  # 127 * 2**24 units are a delta of 127: all of the state's range, and below 2**31

_DIGEST_SIZE: Final = 32


class Rows(NamedTuple):
    """Hold one module's delta by rows: q is int8 (rows, columns), exponent is uint8 (rows,)."""

    q: NDArray[np.int8]
    exponent: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Update:
    """Offer a delta of one factor, to be added to the state whose digest is `parent`."""

    parent: bytes
    factor: Factor
    rows: Mapping[str, Rows]


def digest(blob: Blob) -> bytes:
    """Address bytes by their SHA-256."""
    return hashlib.sha256(blob).digest()


def quantize(layout: Layout, parent: bytes, factor: Factor, delta: Mapping[str, NDArray[np.int64]]) -> Update:
    """Round a delta in units of 2**-24 to an update: in each row half-even, at the least exponent that fits.

    The error is at most half of 2**exponent. ValueError if a row needs more than MAX_EXPONENT (nothing is
    clipped silently), or if the modules or shapes are not the layout's.
    """
    update = Update(parent, factor, {name: _quantize_rows(name, rows) for name, rows in delta.items()})
    check_update(layout, update)
    return update


def expand(rows: Rows) -> NDArray[np.int64]:
    """Give a module's delta as integers in units of 2**-24, all below 2**31 in size."""
    return rows.q.astype(np.int64) << rows.exponent[:, None].astype(np.int64)


def check_update(layout: Layout, update: Update) -> None:
    """Raise Malformed unless the update is whole and in its one legal form for this layout."""
    if len(update.parent) != _DIGEST_SIZE:
        raise Malformed(f"parent has {len(update.parent)} bytes, not {_DIGEST_SIZE}")
    shapes = layout.compute_shapes(update.factor)
    if update.rows.keys() != shapes.keys():
        raise Malformed("the modules are not those of the layout")
    for name, shape in shapes.items():
        _check_rows(name, update.rows[name], shape)


def encode_update(layout: Layout, update: Update) -> bytes:
    """Encode an update canonically; Malformed if it is not legal for the layout."""
    check_update(layout, update)
    arrays: dict[str, NDArray[Any]] = {}
    for name, rows in update.rows.items():
        arrays |= {f"{name}.q": rows.q, f"{name}.exponent": rows.exponent}
    return pack(_describe_update(update.parent, update.factor), arrays)


def decode_update(layout: Layout, parent: bytes, factor: Factor, blob: Blob) -> Update:
    """Decode an update of the given parent and factor; Malformed unless encoding it gives `blob` again."""
    arrays = unpack(blob, _describe_update(parent, factor), _list_update_specs(layout, factor))
    names = [module.name for module in layout.modules]
    update = Update(parent, factor, {n: Rows(arrays[f"{n}.q"], arrays[f"{n}.exponent"]) for n in names})
    check_update(layout, update)
    return update


def max_update_size(layout: Layout) -> int:
    """Count the bytes of the larger factor's update: nobody needs to fetch a byte more.

    For one layout and factor all updates have the same size.
    """
    return max(_compute_update_size(layout, "A"), _compute_update_size(layout, "B"))


def encode_state(state: GlobalState) -> bytes:
    """Encode a state with its layout; its digest names the state on the ledger."""
    arrays = {f"{name}.A": array for name, array in state.A.items()}
    arrays |= {f"{name}.B": array for name, array in state.B.items()}
    return pack(_describe_state(state.layout, state.step), arrays)


def decode_state(blob: Blob) -> GlobalState:
    """Decode a state from its bytes alone; Malformed unless encoding it gives `blob` again."""
    header = read_header(blob)
    try:
        layout, step = _read_layout(header)
    except (KeyError, TypeError, ValueError):
        raise Malformed("the header does not describe a state") from None
    specs = _list_state_specs(layout)
    arrays = unpack(blob, _describe_state(layout, step), specs)
    factors = ({m.name: arrays[f"{m.name}.{factor}"] for m in layout.modules} for factor in "AB")
    try:
        return GlobalState(layout, step, *factors)
    except ValueError as error:
        raise Malformed(str(error)) from None


def _quantize_rows(name: str, delta: NDArray[np.int64]) -> Rows:
    # Beyond +-2**32 no exponent fits; the bound also keeps abs() away from -2**63.
    peak = np.abs(np.clip(delta, -(2**32), 2**32)).max(axis=1)
    exponent = np.zeros(peak.shape, np.int64)
    for too_small in range(MAX_EXPONENT + 1):
        exponent += divide_half_even(peak, 2**too_small) > 127
    if (exponent > MAX_EXPONENT).any():
        raise ValueError(f"codec: {name} has a delta beyond +-127")
    q = divide_half_even(delta, np.int64(1) << exponent[:, None])
    return Rows(q.astype(np.int8), exponent.astype(np.uint8))


def _check_rows(name: str, rows: Rows, shape: tuple[int, int]) -> None:
    q, exponent = rows
    if q.dtype != np.int8 or q.shape != shape:
        raise Malformed(f"{name}: q is not int8 of shape {shape}")
    if exponent.dtype != np.uint8 or exponent.shape != shape[:1]:
        raise Malformed(f"{name}: exponent is not uint8 of shape {shape[:1]}")
    if q.min() == -128:
        raise Malformed(f"{name}: q holds -128")
    if exponent.max() > MAX_EXPONENT:
        raise Malformed(f"{name}: exponent {exponent.max()} is over {MAX_EXPONENT}")
    peak = np.maximum(q.max(axis=1), -q.min(axis=1))
    if ((exponent > 0) & (peak < 64)).any():  # includes a zero row: its exponent is 0
        raise Malformed(f"{name}: a row's exponent is not minimal")


def _describe_update(parent: bytes, factor: Factor) -> dict[str, str]:
    return {"openflock": "update/1", "parent": parent.hex(), "factor": factor}


def _list_update_specs(layout: Layout, factor: Factor) -> dict[str, Spec]:
    specs: dict[str, Spec] = {}
    for name, shape in layout.compute_shapes(factor).items():
        specs |= {f"{name}.q": Spec("I8", shape), f"{name}.exponent": Spec("U8", shape[:1])}
    return specs


def _compute_update_size(layout: Layout, factor: Factor) -> int:
    specs = _list_update_specs(layout, factor)
    header = build_header(_describe_update(bytes(_DIGEST_SIZE), factor), specs)
    return len(header) + sum(spec.compute_size() for spec in specs.values())


def _describe_state(layout: Layout, step: int) -> dict[str, str]:
    return {
        "openflock": "state/1",
        "rank": str(layout.rank),
        "alpha": str(layout.alpha),
        "step": str(step),
    }


def _list_state_specs(layout: Layout) -> dict[str, Spec]:
    specs = {f"{name}.A": Spec("I32", shape) for name, shape in layout.compute_shapes("A").items()}
    return specs | {f"{name}.B": Spec("I32", shape) for name, shape in layout.compute_shapes("B").items()}


def _read_layout(header: dict[str, Any]) -> tuple[Layout, int]:
    # Takes what it needs and no more: unpack then compares the whole header with the one this layout gives.
    metadata = header["__metadata__"]
    names = sorted(name.removesuffix(".A") for name in header if name.endswith(".A"))
    modules = []
    for name in names:
        (_, inputs), (outputs, _) = header[f"{name}.A"]["shape"], header[f"{name}.B"]["shape"]
        if not isinstance(inputs, int) or not isinstance(outputs, int):
            raise TypeError(name)
        modules.append(Module(name, outputs, inputs))
    # A base makes int refuse whatever is not a string.
    rank, alpha, step = (int(metadata[key], base=10) for key in ("rank", "alpha", "step"))
    return Layout(tuple(modules), rank, alpha), step
