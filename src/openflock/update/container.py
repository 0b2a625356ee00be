"""Frame named integer arrays as canonical safetensors bytes: one content, one encoding.

Layout: header length (8 bytes, little-endian), compact ASCII JSON with sorted keys padded with spaces to a
multiple of 8, then the arrays in order of name, without gaps. Any safetensors library reads it.
"""

import json
import mmap
import re
from collections.abc import Mapping
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.ports import Blob

_AROUND: Final = 2**21  # bytes; the system may map as much as that around one that is touched

MAX_HEADER: Final = 2**23  # bytes; holds about 30 000 modules, and JSON takes some 20 times it to parse

_DTYPES: Final = {"I8": "i1", "U8": "u1", "I32": "<i4"}
_TAGS: Final = {np.dtype(kind): tag for tag, kind in _DTYPES.items()}

# Keeps deep nesting from the JSON parser, which recurses: where py-evm has raised the recursion limit, thousands
# of brackets crash the process. Possessive quantifiers make the match linear.
_STRING: Final = rb'"[^"\\]*+"'
_PAIR: Final = rb"%b:(?:%b|\[[0-9,]*+\])" % (_STRING, _STRING)
_ENTRY: Final = rb"%b:\{(?:%b,?)*+\}" % (_STRING, _PAIR)
_HEADER: Final = re.compile(rb"\{(?:%b,?)*+\} *+" % _ENTRY)


class Malformed(ValueError):
    """Say in one line why bytes are not the canonical encoding of what they claim to be."""


class Spec(NamedTuple):
    """Describe one array of a container: its safetensors dtype and its shape."""

    dtype: str
    shape: tuple[int, ...]

    def compute_size(self) -> int:
        """Count the array's bytes, as a Python integer that no claimed shape can overflow."""
        return prod(self.shape) * np.dtype(_DTYPES[self.dtype]).itemsize


def build_header(metadata: Mapping[str, str], specs: Mapping[str, Spec]) -> bytes:
    """Write the length prefix and the header that the canonical container of these arrays has.

    ValueError over MAX_HEADER: nobody could read it.
    """
    text = json.dumps(_describe(metadata, specs), sort_keys=True, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(f"container: header of {len(text)} bytes, over the limit of {MAX_HEADER}")
    return len(text).to_bytes(8, "little") + text


def pack(metadata: Mapping[str, str], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Encode arrays of int8, uint8 or int32 under string metadata."""
    specs = {name: Spec(_TAGS[array.dtype], array.shape) for name, array in arrays.items()}
    parts = [arrays[name].astype(_DTYPES[specs[name].dtype], copy=False).tobytes() for name in sorted(arrays)]
    return b"".join([build_header(metadata, specs), *parts])


def unpack(blob: Blob, metadata: Mapping[str, str], specs: Mapping[str, Spec]) -> dict[str, NDArray[Any]]:
    """Read the arrays of a container whose metadata and specs are known; Malformed at any other byte.

    The header must equal the one that we would write, so an enemy's header is never interpreted: no duplicate
    key, gap, overlap or odd spacing can pass. The arrays are read-only views into the blob.
    """
    header = build_header(metadata, specs)
    if blob[: len(header)] != header:
        raise Malformed(_explain_header(blob, _describe(metadata, specs)))
    size = len(header) + sum(spec.compute_size() for spec in specs.values())
    if len(blob) != size:
        raise Malformed(f"{'truncated' if len(blob) < size else 'too long'}: {len(blob)} bytes, not {size}")
    arrays: dict[str, NDArray[Any]] = {}
    offset = len(header)
    for name, spec in sorted(specs.items()):
        flat = np.frombuffer(blob, _DTYPES[spec.dtype], count=prod(spec.shape), offset=offset)
        arrays[name] = flat.reshape(spec.shape)
        offset += spec.compute_size()
    return arrays


def release(array: NDArray[Any], start: int, stop: int) -> None:
    """Let the system take back the memory of some bytes of an array that is mapped from a file; they stay readable.

    Without this the memory of a pass over many large blobs would grow with their number. For a map that is only read:
    what was written into a private one would be lost. Whole stretches go, as the system maps them around what is read.
    """
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    mapped = owner.obj if isinstance(owner, memoryview) else owner
    if isinstance(mapped, mmap.mmap):
        shift = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
        first = (shift + start) // _AROUND * _AROUND
        last = min(-(-(shift + stop) // _AROUND) * _AROUND, len(mapped))
        if first < last:
            mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def read_header(blob: Blob) -> dict[str, Any]:
    """Parse a header without trusting it; Malformed if it is not a JSON object of at most MAX_HEADER bytes.

    The claims in it cost nothing: memory depends on the bytes that are really there.
    """
    if len(blob) < 10:
        raise Malformed(f"truncated: {len(blob)} bytes")
    if blob[8:9] != b"{":  # a true length may start like a pickle, so the magic numbers only name the culprit
        is_archive = blob[:1] == b"\x80" or blob[:2] == b"PK"
        raise Malformed("a pickle or zip archive" if is_archive else "not safetensors: no header")
    length = int.from_bytes(blob[:8], "little")
    if length > MAX_HEADER:
        raise Malformed(f"header of {length} bytes, over the limit of {MAX_HEADER}")
    if length > len(blob) - 8:
        raise Malformed("truncated: the file ends within the header")
    text = bytes(blob[8 : 8 + length])
    if not _HEADER.fullmatch(text):
        raise Malformed("the header is not compact safetensors JSON")
    try:
        header: dict[str, Any] = json.loads(text)
    except ValueError:  # not UTF-8, numbers such as 1,,2 or of thousands of digits
        raise Malformed("the header is not JSON") from None
    return header


def _describe(metadata: Mapping[str, str], specs: Mapping[str, Spec]) -> dict[str, Any]:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, spec in sorted(specs.items()):
        begin, end = end, end + spec.compute_size()
        header[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [begin, end]}
    return header


def _explain_header(blob: Blob, expected: dict[str, Any]) -> str:
    # Only for the reader of the message; the refusal itself rests on the comparison of bytes in unpack.
    found = read_header(blob)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{name} is missing"
        if name not in expected:
            return f"unexpected tensor {name[:80]!r}"
        if found[name] != expected[name]:
            return _explain_entry(name, found[name], expected[name])
    return "the header is not canonical"


def _explain_entry(name: str, found: dict[str, Any], expected: dict[str, Any]) -> str:
    for key, value in expected.items():
        claim = found.get(key)
        if claim != value:
            shown = f"{claim[:80]!r}, " if isinstance(claim, str) else ""
            return f"{name}: {key} is {shown}not {value!r}"
    return f"{name} has unknown keys"
