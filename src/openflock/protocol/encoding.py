"""Containers, calls and events <-> JSON values, by their field types and by nothing that the JSON says."""

import json
from enum import IntEnum
from typing import Any, Literal, get_args, get_origin, get_type_hints

MAX_BRACKETS = 10_000  # libraries of the chain raise Python's recursion limit past what its C stack holds


def parse_json(text: bytes | str) -> Any:
    """Parse JSON from outside; raise ValueError, and never crash on deep nesting."""
    raw = text.encode() if isinstance(text, str) else text
    if raw.count(b"[") + raw.count(b"{") > MAX_BRACKETS:
        raise ValueError(f"more than {MAX_BRACKETS:,} brackets")
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def to_json(value: object) -> Any:
    """Turn a container's values into JSON: bytes as hex, big integers as they are, enums as numbers."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    return {name: to_json(item) for name, item in vars(value).items()}


def from_json(kind: Any, value: Any) -> Any:
    """Turn JSON back into a value of a container's field type; raise ValueError or TypeError if it is none."""
    if kind is bytes:
        return bytes.fromhex(value)
    if get_origin(kind) is tuple:
        return tuple(from_json(get_args(kind)[0], item) for item in value)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{value!r:.40} is not one of {', '.join(get_args(kind))}")
        return value
    if kind in (bool, str, int):
        if type(value) is not kind:
            raise TypeError(f"{value!r} is not {kind.__name__}")
        return value
    if issubclass(kind, IntEnum):
        return kind(value)
    hints = get_type_hints(kind)
    if set(value) != set(hints):
        raise ValueError(f"fields are not those of {kind.__name__}")
    return kind(**{name: from_json(hints[name], item) for name, item in value.items()})
