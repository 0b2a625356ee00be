"""Draw every call and event, with values that a task's log can hold."""

from dataclasses import fields
from enum import IntEnum
from typing import get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from openflock.protocol.calls import LOG_TYPES
from openflock.protocol.ports import Entry

addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
words = st.binary(min_size=32, max_size=32)
numbers = st.one_of(st.integers(0, 10), st.integers(0, 2**256 - 1), st.just(2**256 - 1))


def draw_value(kind):
    if get_origin(kind) is tuple:
        return st.lists(draw_value(get_args(kind)[0]), max_size=4).map(tuple)
    if isinstance(kind, type) and issubclass(kind, IntEnum):
        return st.sampled_from(kind)
    return {bool: st.booleans(), int: numbers, bytes: words, str: addresses}[kind]


def draw_item(kind):
    hints = get_type_hints(kind)
    return st.builds(kind, **{field.name: draw_value(hints[field.name]) for field in fields(kind)})


items = st.sampled_from(sorted(LOG_TYPES)).flatmap(lambda name: draw_item(LOG_TYPES[name]))
entries = st.builds(Entry, st.integers(0, 2**64), st.integers(0, 2**64), items)
