"""A round's sealed rows: written and read back, and nothing believed of what a creator opens."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.learn.data import Row
from openflock.learn.sealed import MAX_SEALED_ROWS, MAX_SEALED_SIZE, BadSealed, decode_sealed, encode_sealed

ROW = Row((("user", "one"),), "two")
texts = st.text(min_size=1).filter(str.strip)
turns = st.lists(st.tuples(st.sampled_from(["system", "user"]), texts), min_size=1, max_size=3).map(tuple)
groups = st.lists(st.builds(Row, turns, texts), min_size=1, max_size=3)


@given(st.lists(groups, min_size=1, max_size=3), st.binary(max_size=32))
def test_rows_are_read_back_as_they_were_written(rows, nonce):
    assert decode_sealed(encode_sealed(rows, nonce), len(rows)) == rows


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_the_nonce_hides_which_rows_they_are(one, other):
    assert (encode_sealed([[ROW]], one) == encode_sealed([[ROW]], other)) == (one == other)


def write(*lines):
    return "\n".join(json.dumps(line) for line in ({"nonce": ""}, *lines)).encode()


GOOD = {"domain": 0, "prompt": "a", "completion": "b"}


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"no rows",
        b"\nno rows",
        write(),
        write(1),
        write({"domain": 0, "prompt": "a"}),
        write({"prompt": "a", "completion": "b"}),
        write(GOOD | {"domain": 1}),
        write(GOOD | {"domain": -1}),
        write(GOOD | {"domain": "0"}),
        write(GOOD | {"domain": [0]}),
        write(GOOD | {"completion": "half \ud800"}),
        write(GOOD | {"prompt": "half \udfff"}),
        write(*[GOOD] * (MAX_SEALED_ROWS + 1)),
        write(GOOD | {"prompt": "long " * MAX_SEALED_SIZE}),
        b"\n" + b"[" * 100_000,
    ],
)
def test_what_holds_no_rows_of_each_domain_is_refused(blob):
    with pytest.raises(BadSealed, match="sealed rows"):
        decode_sealed(blob, 1)


@pytest.mark.parametrize("rows", [[[]], [[ROW], []], [[ROW] * (MAX_SEALED_ROWS + 1)]])
def test_nobody_seals_what_nobody_could_open(rows):
    with pytest.raises(BadSealed):
        encode_sealed(rows, b"")


def test_rows_of_code_have_many_brackets():
    row = Row((("user", "{[" * 2000),), "]}")
    assert decode_sealed(encode_sealed([[row] * 4], b""), 1) == [[row] * 4]
