from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.update.codec import (
    MAX_EXPONENT,
    Rows,
    Update,
    check_update,
    decode_state,
    decode_update,
    digest,
    encode_state,
    encode_update,
    expand,
    max_update_size,
    quantize,
)
from openflock.update.container import Malformed, build_header
from openflock.update.fixed import Layout, Module, initial_state

from .examples import LARGEST_DELTA, PARENT, SMALL, deltas, layouts, make_update, states, updates

LINE = Layout((Module("a", 1, 4),), rank=1, alpha=1)  # an update of A is one row of four


def quantize_row(*delta):
    return quantize(LINE, PARENT, "A", {"a": np.array([delta], np.int64)}).rows["a"]


def make_row(q, exponent):
    return Update(PARENT, "A", {"a": Rows(np.array([q], np.int8), np.array([exponent], np.uint8))})


@pytest.mark.parametrize(
    ("delta", "q", "exponent"),
    [
        ((0, 0, 0, 0), [0, 0, 0, 0], 0),
        ((127, -127, 1, 0), [127, -127, 1, 0], 0),
        ((128, 0, 1, 3), [64, 0, 0, 2], 1),  # ties go to even
        ((-128, 0, 0, 0), [-64, 0, 0, 0], 1),
        ((254, 0, 0, 0), [127, 0, 0, 0], 1),
        ((255, 0, 0, 0), [64, 0, 0, 0], 2),  # 127.5 would round to 128, so the row needs one more
        ((LARGEST_DELTA, -LARGEST_DELTA, 0, 0), [127, -127, 0, 0], 24),
        ((LARGEST_DELTA + 2**23 - 1, 0, 0, 0), [127, 0, 0, 0], 24),
    ],
)
def test_quantize_takes_the_least_exponent(delta, q, exponent):
    rows = quantize_row(*delta)
    assert rows.q.tolist() == [q]
    assert rows.exponent.tolist() == [exponent]


@pytest.mark.parametrize("delta", [LARGEST_DELTA + 2**23, -LARGEST_DELTA - 2**23, 2**62, -(2**63)])
def test_quantize_never_clips_silently(delta):
    with pytest.raises(ValueError, match="beyond"):
        quantize_row(0, delta, 0, 0)


def test_quantize_refuses_another_layout():
    with pytest.raises(ValueError, match="modules"):
        quantize(LINE, PARENT, "A", {"b": np.zeros((1, 4), np.int64)})
    with pytest.raises(ValueError, match="shape"):
        quantize(LINE, PARENT, "A", {"a": np.zeros((4, 1), np.int64)})


@given(st.lists(deltas, min_size=4, max_size=4))
@settings(deadline=None)
def test_quantize_errs_by_half_a_unit_at_most(delta):
    rows = quantize_row(*delta)
    unit = Fraction(2 ** int(rows.exponent[0]))
    assert all(abs(back - true) <= unit / 2 for back, true in zip(expand(rows)[0].tolist(), delta, strict=True))


@given(st.data())
@settings(deadline=None)
def test_what_fits_exactly_is_quantized_to_itself(data):
    update = data.draw(updates(SMALL, "B"))
    again = quantize(SMALL, PARENT, "B", {name: expand(rows) for name, rows in update.rows.items()})
    assert encode_update(SMALL, again) == encode_update(SMALL, update)


@given(st.data(), st.sampled_from(["A", "B"]))
@settings(deadline=None)
def test_updates_survive_the_bytes(data, factor):
    layout = data.draw(layouts())
    update = data.draw(updates(layout, factor))
    blob = encode_update(layout, update)
    decoded = decode_update(layout, PARENT, factor, blob)
    assert encode_update(layout, decoded) == blob
    assert len(blob) <= max_update_size(layout)
    for name, rows in update.rows.items():
        assert (expand(decoded.rows[name]) == expand(rows)).all()


@given(st.data(), st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_a_changed_byte_is_refused_or_is_another_update(data, mask):
    blob = bytearray(encode_update(SMALL, data.draw(updates(SMALL, "A"))))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= mask
    try:
        changed = decode_update(SMALL, PARENT, "A", bytes(blob))
    except Malformed:
        return
    assert encode_update(SMALL, changed) == blob


def test_every_bit_of_the_header_counts():
    blob = encode_update(SMALL, make_update(SMALL, "A", 1))
    size = len(blob) - sum(rows * (columns + 1) for rows, columns in SMALL.compute_shapes("A").values())
    for i in range(8 * size):
        changed = bytearray(blob)
        changed[i // 8] ^= 1 << i % 8
        with pytest.raises(Malformed):
            decode_update(SMALL, PARENT, "A", bytes(changed))


@pytest.mark.parametrize(
    ("q", "exponent", "reason"),
    [
        ([0, -128, 0, 0], 0, "-128"),
        ([64, 0, 0, 0], MAX_EXPONENT + 1, "exponent 25 is over 24"),
        ([127, 0, 0, 0], 255, "exponent 255"),
        ([63, -63, 0, 0], 1, "not minimal"),
        ([0, 0, 0, 0], 1, "not minimal"),
    ],
)
def test_illegal_rows_are_neither_written_nor_read(q, exponent, reason):
    illegal = make_row(q, exponent)
    with pytest.raises(Malformed, match=reason):
        encode_update(LINE, illegal)
    blob = encode_update(LINE, make_row([0, 0, 0, 0], 0))
    payload = bytes([exponent]) + np.array(q, np.int8).tobytes()
    with pytest.raises(Malformed, match=reason):
        decode_update(LINE, PARENT, "A", blob[: -len(payload)] + payload)


@pytest.mark.parametrize(("q", "exponent"), [([64, 0, 0, 0], 24), ([-64, 63, 0, 0], 1), ([-127, 127, 1, 0], 0)])
def test_legal_edges_are_read(q, exponent):
    blob = encode_update(LINE, make_row(q, exponent))
    assert expand(decode_update(LINE, PARENT, "A", blob).rows["a"]).tolist() == [[n << exponent for n in q]]


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (Update(b"short", "A", {}), "parent has 5 bytes"),
        (Update(PARENT, "A", {}), "modules"),
        (Update(PARENT, "A", {"a": Rows(np.zeros((1, 4), np.int16), np.zeros(1, np.uint8))}), "int8"),
        (Update(PARENT, "A", {"a": Rows(np.zeros((4, 1), np.int8), np.zeros(4, np.uint8))}), "shape"),
        (Update(PARENT, "A", {"a": Rows(np.zeros((1, 4), np.int8), np.zeros(1, np.int8))}), "uint8"),
        (Update(PARENT, "A", {"a": Rows(np.zeros((1, 4), np.int8), np.zeros(2, np.uint8))}), "exponent"),
    ],
)
def test_check_update_names_the_fault(update, reason):
    with pytest.raises(Malformed, match=reason):
        check_update(LINE, update)


def test_another_parent_or_factor_is_refused():
    blob = encode_update(SMALL, make_update(SMALL, "A", 1))
    with pytest.raises(Malformed, match="parent is"):
        decode_update(SMALL, bytes(32), "A", blob)
    with pytest.raises(Malformed, match="factor is 'A', not 'B'"):
        decode_update(SMALL, PARENT, "B", blob)


def test_floats_are_refused():
    blob = encode_update(SMALL, make_update(SMALL, "A", 1))
    with pytest.raises(Malformed, match="dtype is 'F8'"):
        decode_update(SMALL, PARENT, "A", blob.replace(b'"I8"', b'"F8"'))


def test_all_updates_of_a_layout_and_factor_have_one_size():
    sizes = {len(encode_update(SMALL, make_update(SMALL, "A", n))) for n in (0, 1, -5000, LARGEST_DELTA)}
    other = len(encode_update(SMALL, make_update(SMALL, "B", 1)))
    assert len(sizes) == 1
    assert max_update_size(SMALL) == max(other, *sizes)


@given(states())
@settings(deadline=None)
def test_states_survive_the_bytes(state):
    blob = encode_state(state)
    decoded = decode_state(blob)
    assert decoded.layout == state.layout
    assert decoded.step == state.step
    assert encode_state(decoded) == blob
    for name in state.A:
        assert (decoded.A[name] == state.A[name]).all()
        assert (decoded.B[name] == state.B[name]).all()


@given(st.data(), st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_a_changed_byte_is_refused_or_is_another_state(data, mask):
    blob = bytearray(encode_state(initial_state(SMALL, b"seed")))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= mask
    try:
        changed = decode_state(bytes(blob))
    except Malformed:
        return
    assert encode_state(changed) == blob


def edit_header(old, new):
    """Replace text in the header of a small state, and frame it again."""
    blob = encode_state(initial_state(SMALL, b""))
    end = 8 + int.from_bytes(blob[:8], "little")
    assert old in blob[8:end]
    header = blob[8:end].replace(old, new).rstrip(b" ")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + blob[end:]


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "truncated"),
        (encode_state(initial_state(SMALL, b""))[:-1], "truncated"),
        (encode_state(initial_state(SMALL, b"")) + b"\0", "too long"),
        (encode_state(initial_state(SMALL, b""))[:-4] + b"\0\0\0\x80", "holds -2"),
        (encode_update(SMALL, make_update(SMALL, "A", 1)), "does not describe a state"),
        (build_header({}, {}), "does not describe a state"),
        (edit_header(b'"step":"0"', b'"step":"-1"'), "step must be"),
        (edit_header(b'"step":"0"', b'"step":"00"'), "step is '00'"),
        (edit_header(b'"rank":"2"', b'"rank":"3"'), "shape is not"),
        (edit_header(b'"rank":"2"', b'"rank":[2]'), "describe"),
        (edit_header(b'"alpha":"8"', b'"alpha":"' + b"9" * 5000 + b'"'), "describe"),
        (edit_header(b'"alpha":"8"', b'"alpha":"8 "'), "alpha is"),
        (edit_header(b"a.q.A", b"a.r.A"), "describe"),
        (edit_header(b"a.q.B", b"a.r.B"), "describe"),
        (edit_header(b"[4,2]", b"[2147483647,2]"), "data_offsets"),
        (edit_header(b"[4,2]", b"[21474836470000,2]"), "describe"),
        (edit_header(b"[4,2]", b"[4,2,1]"), "describe"),
        (edit_header(b"[4,2]", b'"42"'), "describe"),
        (edit_header(b'"I32"', b'"F32"'), "dtype is 'F32'"),
    ],
)
def test_decode_state_refuses(blob, reason):
    with pytest.raises(Malformed, match=reason):
        decode_state(blob)


def test_digest_is_sha256():
    assert digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
