import mmap
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.aggregate import compute_share
from openflock.update.codec import (
    decode_state,
    decode_update,
    digest,
    encode_state,
    encode_update,
    get_digest,
    make_update,
    max_state_size,
    max_update_size,
    stream_state,
)
from openflock.update.compress import FORMS
from openflock.update.container import Malformed, build_header
from openflock.update.fixed import FACTORS, LIMIT, GlobalState, Layout, Module, initial_state

from .examples import (
    ENCODINGS,
    SMALL,
    fill_update,
    layouts,
    read_whole,
    recipes,
    states,
    states_with_updates,
)

START = initial_state(SMALL, b"")
STACKED = initial_state(SMALL, b"", Recipe("stack"))


def edit_header(blob, old, new):
    """Replace text in a header, and frame it again."""
    end = 8 + int.from_bytes(blob[:8], "little")
    assert old in blob[8:end]
    header = blob[8:end].replace(old, new).rstrip(b" ")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + blob[end:]


def count_header(blob):
    return 8 + int.from_bytes(blob[:8], "little")


def is_equal(update, other):
    mine, theirs = read_whole(update), read_whole(other)
    return all((mine[factor] == theirs[factor]).all() for factor in mine)


# --- Updates -------------------------------------------------------------------------------------------------


@given(states_with_updates(max_updates=1))
def test_every_legal_update_survives_the_bytes(case):
    state, [update] = case
    blob = encode_update(update)
    decoded = decode_update(state, blob)
    assert encode_update(decoded) == blob
    assert is_equal(decoded, update)
    assert (decoded.parent, decoded.layout) == (get_digest(state), update.layout)
    assert len(blob) <= max_update_size(state)


@given(states_with_updates(max_updates=1))
def test_every_legal_update_is_what_its_numbers_are_rounded_to(case):
    state, [update] = case
    again = make_update(state, read_whole(update))
    assert encode_update(again) == encode_update(update)


@given(states_with_updates(max_updates=1), st.data())
def test_any_stretch_of_an_update_is_read_alone(case, data):
    _, [update] = case
    for factor, whole in read_whole(update).items():
        start = data.draw(st.integers(0, len(whole) - 1))
        stop = data.draw(st.integers(start + 1, len(whole)))
        assert update.read(factor, start, stop).tolist() == whole[start:stop].tolist()


@given(states_with_updates(max_updates=1), st.data())
@settings(max_examples=150)
def test_a_changed_byte_is_refused_or_is_another_update(case, data):
    state, [update] = case
    blob = bytearray(encode_update(update))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_update(state, bytes(blob))
    except Malformed:
        return
    assert encode_update(changed) == blob
    assert not is_equal(changed, update)


@pytest.mark.parametrize("start", [START, STACKED])
def test_every_bit_of_the_header_counts(start):
    blob = encode_update(fill_update(start, 1))
    for i in range(8 * count_header(blob)):
        changed = bytearray(blob)
        changed[i // 8] ^= 1 << i % 8
        with pytest.raises(Malformed):
            decode_update(start, bytes(changed))


def test_another_parent_factor_or_encoding_is_refused():
    def forge(maker):
        return encode_update(fill_update(maker, 1)).replace(get_digest(maker).hex().encode(), parent)

    parent = get_digest(START).hex().encode()
    with pytest.raises(Malformed, match="parent is"):
        decode_update(START, encode_update(fill_update(initial_state(SMALL, b"other"), 1)))
    with pytest.raises(Malformed, match=r"unexpected tensor 'A\.codes'"):
        decode_update(START, forge(replace(START, step=1)))
    with pytest.raises(Malformed, match=r"B\.codes: shape"):
        decode_update(START, forge(initial_state(SMALL, b"", Recipe(encoding="int4"))))
    with pytest.raises(Malformed, match="encoding is 'int4', not 'int8'"):
        decode_update(START, edit_header(forge(START), b'"int8"', b'"int4"'))
    assert decode_update(START, forge(START)).parent.hex().encode() == parent


@pytest.mark.parametrize("width", ["0", "3", "-1", "01", "1 ", "x", "", "1e0", "٢", "9" * 5000])
def test_a_width_that_is_none_is_refused(width):
    blob = encode_update(fill_update(STACKED, 1, width=2))
    with pytest.raises(Malformed):
        decode_update(STACKED, edit_header(blob, b'"width":"2"', b'"width":"%b"' % width.encode()))


@pytest.mark.parametrize("forged", [b'"wide":"2"', b'"width":[2]', b'"width":"1"'])
def test_a_width_that_is_missing_or_not_that_of_the_bytes_is_refused(forged):
    blob = encode_update(fill_update(STACKED, 1, width=2))
    with pytest.raises(Malformed):
        decode_update(STACKED, edit_header(blob, b'"width":"2"', forged))


def test_only_stacked_updates_have_a_width_of_their_own():
    assert decode_update(STACKED, encode_update(fill_update(STACKED, 1, width=1))).layout.width == 1
    assert fill_update(START, 1, width=1).layout.width == SMALL.rank


def test_floats_are_refused():
    blob = encode_update(fill_update(START, 1))
    with pytest.raises(Malformed, match="dtype is 'F8'"):
        decode_update(START, blob.replace(b'"U8"', b'"F8"'))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", ["first", "last"])
def test_illegal_numbers_are_refused_wherever_they_stand(encoding, place):
    form = FORMS[encoding]
    # More blocks than are checked together.
    start = initial_state(Layout((Module("a", 2**14 * form.block + 1, 1),), 1, 1), b"", Recipe(encoding=encoding))
    update = fill_update(start, 0)
    part = update.parts["B"]
    at = 0 if place == "first" else len(part.codes) - 1
    nothing = {"int8": 0x80, "int4": 0x08, "ternary": 0xFF, "sparse4": 0x08}[encoding]
    for spoiled, value, reason in ((part.codes, nothing, "holds a level"), (part.scales, 1, "is not minimal")):
        before = spoiled[at].copy()
        spoiled[at] = value
        with pytest.raises(Malformed, match=f"^B: .*{reason}"):
            decode_update(start, encode_update(update))
        spoiled[at] = before
    assert encode_update(decode_update(start, encode_update(update))) == encode_update(update)


@pytest.mark.parametrize(
    ("delta", "reason"),
    [
        ({}, "trains B"),
        ({"A": np.zeros(14)}, "trains B"),
        ({"A": np.zeros(14), "B": np.zeros(14)}, "trains B"),
        ({"B": np.zeros(13)}, "size"),
        ({"B": np.zeros((7, 2))}, "size"),
        ({"B": np.full(14, 2**25)}, "beyond"),
    ],
)
def test_make_update_refuses_what_the_state_does_not_train(delta, reason):
    with pytest.raises(ValueError, match=reason):
        make_update(START, delta)


@given(layouts(), recipes())
@settings(max_examples=50)
def test_the_largest_size_is_that_of_some_round_s_updates(layout, recipe):
    start = initial_state(layout, b"", recipe)
    found = set()
    for step in (0, 1):
        for width in range(1, layout.rank + 1) if recipe.mode == "stack" else (None,):
            state = replace(start, step=step)
            zero, one = (encode_update(fill_update(state, value, width)) for value in (0, 1))
            assert len(zero) == len(one)
            found.add(len(zero))
    assert max_update_size(start) == max(found)


def test_the_largest_size_does_not_change_while_a_state_grows():
    grown = replace(STACKED, layout=SMALL.resize(9), factors={f: np.zeros(63, np.int32) for f in FACTORS})
    assert max_update_size(grown) == max_update_size(STACKED)


@given(layouts(), recipes())
def test_no_state_of_a_task_is_larger_than_the_largest_and_the_first_is_nearly_as_large(layout, recipe):
    first = initial_state(layout, b"seed", recipe)
    most = max_state_size(first, 1, 1)
    if recipe.mode != "stack":
        assert len(encode_state(first)) <= most <= len(encode_state(first)) + 16
        assert len(encode_state(replace(first, step=LIMIT))) <= most


@pytest.mark.parametrize("width", [0, 1, 9, 12])
def test_a_state_that_is_appended_to_grows_by_the_rank_of_every_update(width):
    numbers = {factor: np.zeros(SMALL.resize(width).compute_size(factor), np.int32) for factor in FACTORS}
    grown = replace(STACKED, layout=SMALL.resize(width), factors=numbers, step=2)
    merges = -(-width // (3 * SMALL.rank))  # of three updates
    assert len(encode_state(grown)) <= max_state_size(STACKED, merges, 3)


# --- States --------------------------------------------------------------------------------------------------


any_recipes = recipes(optimizers=("plain", "momentum", "nesterov", "adam"))


@given(states(any_recipes))
def test_states_survive_the_bytes(state):
    blob = encode_state(state)
    decoded = decode_state(blob)
    assert (decoded.layout, decoded.recipe, decoded.step) == (state.layout, state.recipe, state.step)
    assert encode_state(decoded) == blob
    assert state.vectors.keys() == decoded.vectors.keys()
    assert all((decoded.vectors[name] == vector).all() for name, vector in state.vectors.items())


@given(states(any_recipes))
def test_any_reader_of_safetensors_finds_a_state_s_vectors_by_their_names(state):
    found = safetensors.numpy.load(encode_state(state))
    for (kind, factor), vector in state.vectors.items():
        for name, matrix in state.layout.split(factor, vector).items():
            prefix = "" if kind == "value" else f"{kind}."
            assert found[f"{prefix}{factor}.{name}"].tolist() == matrix.tolist()


@given(states(any_recipes), st.data())
@settings(max_examples=150)
def test_a_changed_byte_is_refused_or_is_another_state(state, data):
    blob = bytearray(encode_state(state))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_state(bytes(blob))
    except Malformed:
        return
    assert encode_state(changed) == blob


def test_every_bit_of_a_state_s_header_counts():
    blob = encode_state(START)
    for i in range(8 * count_header(blob)):
        changed = bytearray(blob)
        changed[i // 8] ^= 1 << i % 8
        try:
            state = decode_state(bytes(changed))
        except Malformed:
            continue
        assert encode_state(state) == changed  # a step, an alpha, a name: another state


@given(any_recipes, any_recipes)
def test_a_state_s_digest_binds_the_recipe(recipe, other):
    one, two = (initial_state(SMALL, b"seed", each) for each in (recipe, other))
    assert (get_digest(one) == get_digest(two)) == (recipe == other)
    assert decode_state(encode_state(one)).recipe == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "ffa"}, {"encoding": "int4"}, {"aggregator": "median"}, {"mixing": True}, {"faulty": 100},
        {"clip": 1000}, {"rate": 2**15}, {"optimizer": "momentum", "momentum": 1}, {"optimizer": "nesterov"},
        {"decay": 1}, {"memory": 2, "clip": 1000},
    ],
)  # fmt: skip
def test_every_field_of_the_recipe_is_bound(change):
    recipe = replace(Recipe(aggregator="krum", faulty=200), **change)
    state = initial_state(SMALL, b"", recipe)
    assert get_digest(state) != get_digest(initial_state(SMALL, b"", Recipe(aggregator="krum", faulty=200)))
    assert decode_state(encode_state(state)).recipe == recipe


@given(states_with_updates(max_updates=1, wanted=any_recipes))
@settings(max_examples=50)
def test_the_digest_is_that_of_the_bytes_however_a_state_came_about(case):
    state, [update] = case
    blob = encode_state(state)
    for each in (state, decode_state(blob), compute_share(state, update, Fraction(1, 2)), replace(state, step=7)):
        assert get_digest(each) == get_digest(each) == digest(encode_state(each))
    assert get_digest(decode_state(blob, digest(blob))) == digest(blob)


@given(states(any_recipes))
def test_the_order_in_which_factors_are_named_does_not_count(state):
    turned = replace(state, factors=dict(reversed(state.factors.items())))
    assert encode_state(turned) == encode_state(state)


def test_a_large_state_comes_in_pieces_and_is_read_from_a_mapped_file(tmp_path):
    state = initial_state(Layout((Module("a", 2**20 + 7, 3),), 2, 1), b"", Recipe(optimizer="momentum"))
    path = tmp_path / "state"
    path.write_bytes(b"".join(stream_state(state)))
    assert max(map(len, stream_state(state))) <= 2**22
    with path.open("rb") as file:
        mapped = decode_state(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    assert get_digest(mapped) == get_digest(state) == digest(path.read_bytes())
    assert encode_state(mapped) == path.read_bytes()


STATE = encode_state(START)
MOVING = encode_state(initial_state(SMALL, b"", Recipe(optimizer="momentum")))
GROWN = encode_state(GlobalState(SMALL.resize(1), Recipe("stack"), 1, {f: np.zeros(7, np.int32) for f in FACTORS}, {}))


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "truncated"),
        (STATE[:-1], "truncated"),
        (STATE + b"\0", "too long"),
        (STATE[:-4] + b"\0\0\0\x80", "holds -2"),
        (MOVING[:-4] + b"\0\0\0\x80", "holds -2"),
        (encode_update(fill_update(START, 1)), "does not describe a state"),
        (build_header({}, {}), "does not describe a state"),
        (edit_header(STATE, b'"step":"0"', b'"step":"-1"'), "step must be"),
        (edit_header(STATE, b'"step":"0"', b'"step":"00"'), "step is '00'"),
        (edit_header(STATE, b'"rank":"2"', b'"rank":"3"'), "width differs"),
        (edit_header(STATE, b'"width":"2"', b'"width":"3"'), "shape is not"),
        (edit_header(STATE, b'"width":"2"', b'"width":"-1"'), "width is '-1'"),
        (edit_header(STATE, b'"width":"2"', b'"width":"-2"'), "describe"),
        (edit_header(GROWN, b'"stack"', b'"ffa"'), "width differs"),
        (edit_header(STATE, b'"rank":"2"', b'"rank":[2]'), "describe"),
        (edit_header(STATE, b'"alpha":"8"', b'"alpha":"' + b"9" * 5000 + b'"'), "describe"),
        (edit_header(STATE, b'"alpha":"8"', b'"alpha":"8 "'), "alpha is"),
        (edit_header(STATE, b'"alternate"', b'"svd"'), "describe"),
        (edit_header(STATE, b'"int8"', b'"int9"'), "describe"),
        (edit_header(STATE, b'"plain"', b'"momentum"'), "velocity"),
        (edit_header(MOVING, b'"momentum"', b'"plain"'), "velocity"),
        (edit_header(STATE, b'"recipe.mixing":"0"', b'"recipe.mixing":"2"'), "describe"),
        (edit_header(STATE, b'"recipe.mixing":"0"', b'"recipe.mixing":"00"'), "recipe.mixing is '00'"),
        (edit_header(STATE, b'"recipe.mixing":"0"', b'"recipe.mixing":"False"'), "describe"),
        (edit_header(STATE, b'"recipe.faulty":"0"', b'"recipe.faulty":"500"'), "describe"),
        (edit_header(STATE, b'"recipe.rate":"65536",', b""), "recipe.rate is not"),
        (edit_header(STATE, b'"recipe.encoding"', b'"recipe.decay":"0","recipe.encoding"'), "unknown keys"),
        (edit_header(STATE, b"A.a.q", b"A.a.r"), "describe"),
        (edit_header(STATE, b"B.a.q", b"B.a.r"), "describe"),
        (edit_header(STATE, b"[4,2]", b"[2147483647,2]"), "data_offsets"),
        (edit_header(STATE, b"[4,2]", b"[21474836470000,2]"), "describe"),
        (edit_header(STATE, b"[4,2]", b"[4,2,1]"), "describe"),
        (edit_header(STATE, b"[4,2]", b'"42"'), "describe"),
        (edit_header(STATE, b'"I32"', b'"F32"'), "dtype is 'F32'"),
    ],
)
def test_decode_state_refuses(blob, reason):
    with pytest.raises(Malformed, match=reason):
        decode_state(blob)


def test_a_header_that_would_be_too_long_if_it_were_whole_is_malformed():
    names = [f"{factor}.{index:0256}" for factor in FACTORS for index in range(6600)]
    text = MOVING[8 : count_header(MOVING)].decode()
    metadata = text[text.index('"__metadata__"') : text.index("}", text.index('"__metadata__"')) + 1]
    header = "{" + ",".join([metadata, *(f'"{name}":{{"shape":[2,2]}}' for name in names)]) + "}"
    with pytest.raises(Malformed, match="does not describe a state"):
        decode_state(len(header).to_bytes(8, "little") + header.encode())


def test_digest_is_sha256():
    assert digest(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
