from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.update.compress import FORMS, GROUP, KEPT, expand, find_fault, quantize

from .examples import ENCODINGS, LARGEST, pack_by_hand, parts, vectors

encodings = st.sampled_from(ENCODINGS)
lengths = st.sampled_from([1, 5, 63, 64, 65, 159, 160, 161, 200])


def hold(encoding, *levels, scale=0):
    """One block that begins with these levels, as bytes: scales and codes."""
    form = FORMS[encoding]
    packed = pack_by_hand(encoding, [*levels, *[0] * (form.block - len(levels))])
    return np.array([scale], np.uint8), np.frombuffer(packed, np.uint8).reshape(1, form.size)


def read(encoding, scales, codes):
    numbers = np.empty(len(codes) * FORMS[encoding].block)
    expand(FORMS[encoding], scales, codes, numbers)
    return numbers


def round_trip(encoding, delta):
    return read(encoding, *quantize(FORMS[encoding], delta))[: len(delta)]


@st.composite
def deltas(draw, encoding, size):
    """Small numbers, the edges of scales, and everything that an encoding can hold."""
    largest, limit = LARGEST[encoding], FORMS[encoding].limit
    edges = [limit, limit + 1, 2 * limit + 1, largest, -largest, largest // 2 + 1]
    whole = st.integers(-largest, largest)
    return draw(vectors(size, st.one_of(st.integers(-300, 300), st.sampled_from(edges), whole), np.int64))


# --- The bytes -----------------------------------------------------------------------------------------------


@given(st.data(), encodings, lengths)
def test_legal_bytes_are_read_and_written_as_the_table_says(data, encoding, size):
    form = FORMS[encoding]
    part, numbers = data.draw(parts(encoding, size))
    assert find_fault(form, part.scales, part.codes, size) is None
    assert (read(encoding, part.scales, part.codes)[:size] == numbers).all()
    assert (form.pack(form.unpack(part.codes)) == part.codes).all()


@given(st.data(), encodings, lengths)
def test_every_legal_form_is_the_one_that_its_numbers_are_rounded_to(data, encoding, size):
    part, numbers = data.draw(parts(encoding, size))
    scales, codes = quantize(FORMS[encoding], numbers)
    assert scales.tolist() == part.scales.tolist()
    assert codes.tolist() == part.codes.tolist()


@given(st.data(), encodings, lengths)
@settings(max_examples=150)
def test_a_changed_byte_is_refused_or_changes_the_delta(data, encoding, size):
    part, numbers = data.draw(parts(encoding, size))
    changed = [part.scales.copy(), part.codes.copy()]
    touched = data.draw(st.sampled_from(changed)).reshape(-1)
    at, mask = data.draw(st.integers(0, touched.size - 1)), data.draw(st.integers(1, 255))
    touched[at] ^= mask
    if find_fault(FORMS[encoding], *changed, size) is None:
        assert (read(encoding, *changed)[:size] != numbers).any()


@pytest.mark.parametrize(("encoding", "meaningful"), [("int8", 255), ("int4", 15**2), ("ternary", 3**5)])
def test_no_two_bytes_mean_the_same(encoding, meaningful):
    form = FORMS[encoding]
    meanings = set()
    for byte in range(256):
        codes = hold(encoding)[1].copy()
        codes[0, 0] = byte
        if find_fault(form, np.zeros(1, np.uint8), codes, form.block) is None:
            assert (form.pack(form.unpack(codes)) == codes).all()
            meanings.add(form.unpack(codes).tobytes())
    assert len(meanings) == meaningful


@pytest.mark.parametrize("first", [0, 1, 8, 0x10, 0x11, 0x17, 0x18, 0x7F, 0xE1, 0xF0, 0xFF])
def test_of_all_groups_that_begin_alike_as_many_are_legal_as_there_are_deltas(first):
    form, tails = FORMS["sparse4"], np.arange(2**16, dtype=np.uint32)
    groups = np.stack([np.full_like(tails, first), tails >> 8, tails & 255], axis=1).astype(np.uint8)
    levels = form.unpack(groups.reshape(-1, form.size)).reshape(-1, GROUP)
    legal = (levels >= -form.limit).all(axis=1)
    place, level = first >> 4, first & 15
    after = GROUP - 1 - place  # places that are left for two more
    wanted = sum(comb(after, used) * 14**used for used in range(KEPT)) if level not in (0, 8) else int(first == 0)
    assert legal.sum() == wanted
    kept = np.zeros((legal.sum() // 4 * 4 + 4, GROUP), np.int8)  # whole blocks, one at least
    kept[: legal.sum()] = levels[legal]
    assert (form.pack(kept.reshape(-1, form.block)).reshape(-1, KEPT)[: legal.sum()] == groups[legal]).all()


@pytest.mark.parametrize(
    ("encoding", "first", "reason"),
    [
        ("int8", b"\x80", "means nothing"),
        ("int4", b"\x08", "means nothing"),
        ("int4", b"\x80", "means nothing"),
        ("ternary", b"\xf3", "means nothing"),
        ("ternary", b"\xff", "means nothing"),
        ("sparse4", b"\x08", "means nothing"),  # level -8
        ("sparse4", b"\x21\x11\0", "means nothing"),  # places out of order
        ("sparse4", b"\x11\x11\0", "means nothing"),  # a place twice
        ("sparse4", b"\x11\x12\0", "means nothing"),
        ("sparse4", b"\0\x11\0", "means nothing"),  # a byte left out
        ("sparse4", b"\x11\0\x21", "means nothing"),
        ("sparse4", b"\x10\0\0", "means nothing"),  # a byte for a zero
        ("sparse4", b"\x11\x20\0", "means nothing"),
    ],
)
def test_bytes_that_mean_nothing_are_refused(encoding, first, reason):
    scales, codes = hold(encoding)
    codes = codes.copy()
    codes[0, : len(first)] = np.frombuffer(first, np.uint8)
    assert reason in find_fault(FORMS[encoding], scales, codes, FORMS[encoding].block)
    codes[0, -len(first) :] = np.frombuffer(first, np.uint8)  # and at the block's end
    assert reason in find_fault(FORMS[encoding], scales, codes, FORMS[encoding].block)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_scales_are_the_least_and_within_their_limit(encoding):
    form = FORMS[encoding]
    most = len(form.scales) - 1

    def judge(level, scale):
        return find_fault(form, *hold(encoding, level, scale=scale), form.block)

    least = form.limit // 2 + 1  # of the levels under a scale that is not the first
    for sign, scale in product((1, -1), (1, most)):
        assert judge(sign * least, scale) is judge(sign * form.limit, scale) is None
        assert "not minimal" in judge(sign * (least - 1), scale)
    assert "not minimal" in judge(0, 1)
    for over in (most + 1, 255):
        assert judge(form.limit, over) == f"scale {over} is over {most}"


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_fills_up_the_last_block_is_zero(encoding):
    form = FORMS[encoding]
    for size in (1, 2, form.block - 1):
        held = hold(encoding, *[0] * (size - 1), 1)
        assert find_fault(form, *held, size) is None
        assert "not filled up" in find_fault(form, *held, size - 1)


# --- The rounding --------------------------------------------------------------------------------------------


def find_least_exponent(peak, limit):
    """The least exponent under which a peak rounds to a legal level."""
    exponent = 0
    while round(Fraction(peak, 2**exponent)) > limit:
        exponent += 1
    return exponent


@given(st.data(), st.sampled_from([name for name in ENCODINGS if name != "ternary"]), lengths)
def test_rounding_is_legal_and_no_worse_than_under_the_least_exponent_that_cuts_nothing_off(data, encoding, size):
    form, delta = FORMS[encoding], data.draw(deltas(encoding, size))
    scales, codes = quantize(form, delta)
    assert find_fault(form, scales, codes, size) is None
    back = read(encoding, scales, codes).astype(np.int64).tolist()
    for start in range(0, size, form.block):
        true = keep_by_hand(delta[start : start + form.block].tolist(), form.kept)
        unit = 2 ** find_least_exponent(max(map(abs, true)), form.limit)
        error = sum((found - n) ** 2 for found, n in zip(back[start:], true, strict=False))
        assert error <= sum((round(Fraction(n, unit)) * unit - n) ** 2 for n in true)


@given(st.data(), lengths)
def test_ternary_leads_as_far_along_a_block_as_the_block_itself(data, size):
    form, delta = FORMS["ternary"], data.draw(deltas("ternary", size))
    scales, codes = quantize(form, delta)
    assert find_fault(form, scales, codes, size) is None
    back = read("ternary", scales, codes)
    for start in range(0, size, form.block):
        true = delta[start : start + form.block].astype(np.float64)
        sent = back[start : start + len(true)]
        marks = sent != 0
        assert (sent[marks] * true[marks] > 0).all()  # no sign is turned
        assert not marks.any() or np.abs(true[marks]).min() >= np.abs(true[~marks]).max(initial=0)
        wanted = true @ true
        if wanted > form.largest * np.abs(true[marks]).sum():
            continue  # no scale is that large
        # A scale is chosen from eight steps between powers of two; below 8 units there is none.
        room = wanted / 16 + 8 * np.abs(true).sum()
        assert abs(sent @ true - wanted) <= room


def keep_by_hand(delta, kept):
    """Zero all but the largest of each group; of equal ones the first stay."""
    if not kept:
        return delta
    left = []
    for start in range(0, len(delta), GROUP):
        group = delta[start : start + GROUP]
        largest = sorted(range(len(group)), key=lambda place: (-abs(group[place]), place))[:kept]
        left += [n if place in largest else 0 for place, n in enumerate(group)]
    return left


@given(st.data(), lengths)
def test_int8_errs_by_half_a_level_of_the_least_exponent(data, size):
    delta = data.draw(deltas("int8", size))
    scales, _ = quantize(FORMS["int8"], delta)
    for block, exponent in enumerate(scales.tolist()):
        true = delta[64 * block : 64 * block + 64].tolist()
        assert exponent == find_least_exponent(max(map(abs, true)), 127)
    errors = np.abs(round_trip("int8", delta) - delta)
    assert (2 * errors <= 2.0 ** np.repeat(scales, 64)[:size]).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nothing_is_lost_of_zero_and_of_the_largest(encoding):
    form = FORMS[encoding]
    scales, codes = quantize(form, np.zeros(form.block + 1, np.int64))
    assert not scales.any()
    assert not form.unpack(codes).any()
    edges = np.array([form.largest, -form.largest, 0])
    assert round_trip(encoding, edges).tolist() == edges.tolist()
    assert form.largest < 2**25


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("sign", [1, -1])
def test_nothing_is_clipped_silently(encoding, sign):
    form = FORMS[encoding]
    assert round_trip(encoding, np.array([sign * form.largest])).tolist() == [sign * form.largest]
    for delta in (form.largest + 1, 2**40, 2**62):
        with pytest.raises(ValueError, match="beyond"):
            quantize(form, np.array([0, sign * delta]))


@pytest.mark.parametrize(
    ("delta", "exponent", "back"),
    [
        ((0, 0, 0, 0), 0, [0, 0, 0, 0]),
        ((127, -127, 1, 0), 0, [127, -127, 1, 0]),
        ((128, 0, 1, 3), 1, [128, 0, 0, 4]),  # ties go to even
        ((-128, 0, 0, 0), 1, [-128, 0, 0, 0]),
        ((254, 0, 0, 0), 1, [254, 0, 0, 0]),
        ((255, 0, 0, 0), 2, [256, 0, 0, 0]),  # 127.5 would round to 128, so the block needs one more
    ],
)
def test_int8_takes_the_least_exponent(delta, exponent, back):
    scales, _ = quantize(FORMS["int8"], np.array(delta))
    assert scales.tolist() == [exponent]
    assert round_trip("int8", np.array(delta)).tolist() == back


def test_few_bits_may_cut_a_peak_off_where_the_others_gain_more():
    peaked = np.array([9] + [3] * 63)  # under exponent 1 nothing is cut off, and every 3 becomes 4
    assert round_trip("int4", peaked).tolist() == [7] + [3] * 63


def test_sparse_keeps_the_largest_of_every_sixteen():
    delta = np.zeros(64, np.int64)
    delta[[2, 3, 5, 7, 20]] = [-7, 5, 4, 4, 1]
    assert round_trip("sparse4", delta).nonzero()[0].tolist() == [2, 3, 5, 20]
