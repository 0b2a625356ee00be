"""Bytes in an update's place that crash, poison or fill up whoever reads them without care.

Each is made of an honest update's bytes, so that it is right in all but one thing. One attacker is enough, and it needs
to know nothing of the others: two of ten updates with NaN turn most robust rules' results to NaN.
"""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from openflock.update.container import read_header

Header = dict[str, Any]


# {"B": bytes(8)} as pickle writes it; nothing here imports what could read it.
PICKLE = b"\x80\x04\x95\x13" + bytes(7) + b"}\x94\x8c\x01B\x94C\x08" + bytes(8) + b"\x94s."


def list_bombs(honest: bytes, size: int = 2**20) -> Mapping[str, bytes]:
    """Make all bombs of an honest update's bytes, by name; `size` is how large the large ones are."""
    return {name: make(honest, size) for name, make in BOMBS.items()}


def make_float_bomb(honest: bytes, value: float) -> bytes:
    """Write the honest update's tensors as the peers do, in float32, and all of them this value."""
    header, _ = _split(honest)
    count, end = 0, 0
    for entry in _list_entries(header):
        count = int(np.prod(entry["shape"]))
        entry |= {"dtype": "F32", "data_offsets": [end, end + 4 * count]}
        end += 4 * count
    return _frame(_dump(header), np.full(end // 4, value, "<f4").tobytes())


def fill_arrays(honest: bytes, byte: int) -> bytes:
    """Keep the honest header, and set all that it describes to one byte: 0x80 is -128, 0xFF a scale beyond all."""
    header, body = _split(honest)
    return _frame(_dump(header), bytes([byte]) * len(body))


def make_zip_bomb(size: int) -> bytes:
    """Pack 64 times `size` zeros as a PyTorch archive is packed: a sixteenth of `size`, and loading it takes all."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as entry:
        for _ in range(64):
            entry.write(bytes(size))
    return packed.getvalue()


# --- Headers -------------------------------------------------------------------------------------------------


def _split(blob: bytes) -> tuple[Header, bytes]:
    length = int.from_bytes(blob[:8], "little")
    return read_header(blob), blob[8 + length :]


def _dump(header: Header) -> bytes:
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _frame(header: bytes, body: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def _edit(honest: bytes, change: Callable[[Header], None]) -> bytes:
    header, body = _split(honest)
    change(header)
    return _frame(_dump(header), body)


def _list_entries(header: Header) -> list[Header]:
    """List the tensors' descriptions in the order of their bytes."""
    return [header[name] for name in sorted(header) if name != "__metadata__"]


def _double_rows(header: Header) -> None:
    for entry in _list_entries(header):
        entry["shape"] = [2 * entry["shape"][0], *entry["shape"][1:]]


def _turn_shapes(header: Header) -> None:
    for entry in _list_entries(header):
        entry["shape"] = [1, *entry["shape"]][::-1]


def _set_shapes(header: Header, shape: list[int]) -> None:
    for entry in _list_entries(header):
        entry["shape"] = shape


def _overlap(header: Header) -> None:
    for entry in _list_entries(header):
        begin, end = entry["data_offsets"]
        entry["data_offsets"] = [0, end - begin]


def _add_tensor(header: Header) -> None:
    header["lm_head.weight"] = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}


def _drop_tensor(header: Header) -> None:
    del header[max(name for name in header if name != "__metadata__")]


BOMBS: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {
    "nan": lambda honest, _: make_float_bomb(honest, float("nan")),
    "infinity": lambda honest, _: make_float_bomb(honest, float("inf")),
    "illegal codes": lambda honest, _: fill_arrays(honest, 0x80),
    "illegal scales": lambda honest, _: fill_arrays(honest, 0xFF),
    "another shape": lambda honest, _: _edit(honest, _double_rows),
    "turned shape": lambda honest, _: _edit(honest, _turn_shapes),
    "negative shape": lambda honest, _: _edit(honest, lambda header: _set_shapes(header, [-1, -1])),
    "overflowing shape": lambda honest, _: _edit(honest, lambda header: _set_shapes(header, [2**32, 2**32])),
    "overlapping arrays": lambda honest, _: _edit(honest, _overlap),
    "another tensor": lambda honest, _: _edit(honest, _add_tensor),
    "missing tensor": lambda honest, _: _edit(honest, _drop_tensor),
    "deep header": lambda _, size: _frame(b"[" * size, b""),
    "endless header": lambda honest, _: (2**63 - 1).to_bytes(8, "little") + honest[8:],
    "digits": lambda _, size: _frame(b'{"n":' + b"9" * size + b"}", b""),
    "too long": lambda honest, size: honest + bytes(size),
    "cut": lambda honest, _: honest[: len(honest) // 2],
    "empty": lambda _honest, _size: b"",
    "pickle": lambda _honest, _size: PICKLE,
    "zip bomb": lambda _, size: make_zip_bomb(size),
}
