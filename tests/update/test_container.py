import io
import mmap
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from openflock.update.container import (
    MAX_HEADER,
    Malformed,
    Spec,
    build_header,
    pack,
    read_header,
    release,
    unpack,
)

ARRAYS = {
    "b": np.arange(-3, 3, dtype=np.int32).reshape(2, 3),
    "a": np.array([-7, 7], np.int8),
    "c": np.array([[200]], np.uint8),
}
SPECS = {"a": Spec("I8", (2,)), "b": Spec("I32", (2, 3)), "c": Spec("U8", (1, 1))}
METADATA = {"openflock": "test/1", "parent": "00"}


def frame(header):
    return len(header).to_bytes(8, "little") + header


def make_zip():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return buffer.getvalue()


def test_the_safetensors_library_reads_what_we_pack():
    loaded = safetensors.numpy.load(pack(METADATA, ARRAYS))
    assert loaded.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype
        assert (loaded[name] == array).all()


@pytest.mark.parametrize("view", [bytes, memoryview])
def test_unpack_gives_back_what_was_packed(view):
    arrays = unpack(view(pack(METADATA, ARRAYS)), METADATA, SPECS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert (arrays[name] == array).all()


def test_layout_of_the_bytes():
    blob = pack({"k": "v"}, {"b": np.array([258], np.int32), "a": np.array([[-1]], np.int8)})
    header = (
        b'{"__metadata__":{"k":"v"},"a":{"data_offsets":[0,1],"dtype":"I8","shape":[1,1]},'
        b'"b":{"data_offsets":[1,5],"dtype":"I32","shape":[1]}}'
    )
    header += b" " * (-len(header) % 8)
    assert blob == frame(header) + b"\xff" + b"\x02\x01\x00\x00"


def test_a_header_whose_length_looks_like_a_pickle_is_read():
    for padding in range(256):
        blob = build_header({"k": "x" * (512 + padding)}, {})
        if blob[:2] == pickle.dumps(0)[:1] + b"\x02":
            assert read_header(blob).keys() == {"__metadata__"}
            return
    pytest.fail("no header of 640 bytes was made")


def test_noncontiguous_arrays_are_packed_in_row_order():
    turned = np.arange(6, dtype=np.int32).reshape(3, 2).T
    assert pack({}, {"t": turned}) == pack({}, {"t": turned.copy()})


GOOD = pack(METADATA, ARRAYS)
HEADER = build_header(METADATA, SPECS)[8:]


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "truncated"),
        (GOOD[:6], "truncated"),
        (GOOD[:40], "truncated"),
        (GOOD[:-1], "truncated"),
        (GOOD + b"\0", "too long"),
        (pickle.dumps({"a": [1, 2, 3]}), "pickle or zip"),
        (make_zip(), "pickle or zip"),
        (b"\x93NUMPY\x01\x00v\x00 not ours", "no header"),
        ((2**63).to_bytes(8, "little") + HEADER, "over the limit"),
        ((MAX_HEADER + 1).to_bytes(8, "little") + HEADER, "over the limit"),
        (frame(b'{"a":'), "not compact"),
        (frame(b'{"a":{"b":"\xff\xfe"}}'), "not JSON"),
        (frame(b'{"a":' + b"[" * 100_000), "not compact"),
        (frame(b'{"a":{"b":[' + b"1" * 10_000 + b"]}}"), "not JSON"),
        (frame(b'{"a":{"b":[1,,2]}}'), "not JSON"),
        (frame(b'{"a":{"b":[true]}}'), "not compact"),
        (frame(HEADER.replace(b'"c":', b'"d":')), "c is missing"),
        (frame(HEADER.replace(b"{", b'{"Z":{},', 1)), "unexpected tensor 'Z'"),
        (frame(HEADER.replace(b'"I32"', b'"F32"')), "b: dtype is 'F32', not 'I32'"),
        (frame(HEADER.replace(b"[2,3]", b"[3,2]")), "b: shape is not"),
        (frame(HEADER.replace(b"[2,3]", b"[2000000000000,3000000000000]")), "b: shape is not"),
        (frame(HEADER.replace(b"[2,3]", b"[" * 400 + b"]" * 400)), "not compact"),
        (frame(HEADER.replace(b'"I32"', b'"I\n32"')), "not JSON"),
        (frame(HEADER.replace(b"[0,2]", b"[0,3]")), "a: data_offsets is not"),
        (frame(HEADER.replace(b'"00"', b'"01"')), "__metadata__: parent is '01', not '00'"),
        (frame(HEADER.replace(b'"00"', b'"00","x":"y"')), "__metadata__ has unknown keys"),
        (frame(HEADER.replace(b'"parent":"00"', b'"parent":"00","parent":"00"')), "not canonical"),
        (frame(HEADER.replace(b'"a":', b' "a":')), "not compact"),
        (frame(HEADER + b" " * 8), "not canonical"),
        (frame(HEADER.replace(b'"openflock"', b'"\\u006fpenflock"')), "not compact"),
        (frame(b'{"__metadata__":7,"a":1,"b":2,"c":3}'), "not compact"),
    ],
)
def test_unpack_refuses_in_one_line(blob, reason):
    with pytest.raises(Malformed, match=reason) as refusal:
        unpack(blob, METADATA, SPECS)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_a_header_too_long_to_read_is_not_written():
    with pytest.raises(ValueError, match="over the limit"):
        build_header({"k": "x" * MAX_HEADER}, {})


# --- Mapped files --------------------------------------------------------------------------------------------

PAGES = 2048  # 8 MiB: memory is given back in stretches of 2


@pytest.fixture
def mapped(tmp_path):
    """A file of random bytes that are mapped."""
    path = tmp_path / "mapped"
    path.write_bytes(np.random.default_rng(1).bytes(PAGES * mmap.PAGESIZE + 100))
    with path.open("rb") as file:
        return path, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def measure_resident(path):
    """Count the bytes of a mapped file that this process holds in memory."""
    parts = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    return sum(1024 * int(re.search(r"Rss: +(\d+)", part)[1]) for part in parts if str(path) in part.split("\n")[0])


@pytest.mark.parametrize("offset", [0, 8, 4100])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 2**40), (100, 5000), (4096, 8192), (7, 200_000)])
def test_a_released_array_stays_readable_and_equal(mapped, offset, start, stop):
    path, view = mapped
    array = np.frombuffer(view, np.uint8, offset=offset)
    wanted = path.read_bytes()[offset:]
    assert array.tobytes() == wanted
    release(array, start, stop)
    assert array.tobytes() == wanted
    matrix = array[: 4 * mmap.PAGESIZE].reshape(4, -1)  # a view of a view finds the file as well
    release(matrix, start, stop)
    assert matrix.tobytes() == wanted[: matrix.size]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not say what is in memory")
def test_released_memory_is_given_back(mapped):
    path, view = mapped
    array = np.frombuffer(view[8:], "<i4", count=PAGES * mmap.PAGESIZE // 4)
    array.sum()
    assert measure_resident(path) >= PAGES * mmap.PAGESIZE
    release(array, 0, array.nbytes // 2)
    assert mmap.PAGESIZE * PAGES // 4 < measure_resident(path) < PAGES * mmap.PAGESIZE * 3 // 4
    release(array, 0, array.nbytes)
    assert measure_resident(path) <= 2 * mmap.PAGESIZE


def test_what_is_not_mapped_is_left_alone():
    for array in (np.arange(10), np.frombuffer(bytes(10), np.uint8), np.frombuffer(memoryview(bytes(10)), np.uint8)):
        before = array.tolist()
        release(array, 0, 10**9)
        assert array.tolist() == before
