import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.hashing import hash_values

VALUES = {
    "address": st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex()),
    "bytes32": st.binary(min_size=32, max_size=32),
    "uint256": st.integers(0, 2**256 - 1),
    "bool": st.booleans(),
}
typed = st.sampled_from(sorted(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind]))


@given(st.lists(typed, max_size=7))
def test_values_are_hashed_as_the_chain_s_own_encoder_has_them(pairs):
    types, values = [kind for kind, _ in pairs], [value for _, value in pairs]
    assert hash_values(types, values) == keccak(encode(types, values))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("address", "0x" + "00" * 19), ("address", "0x" + "zz" * 20), ("address", "0x" + "ab" * 19 + "  "),
        ("address", bytes(20)), ("bytes32", bytes(31)),
        ("bytes32", bytes(33)), ("uint256", -1), ("uint256", 2**256), ("uint256", "1"), ("bool", 1), ("string", "a"),
    ],
)  # fmt: skip
def test_what_is_not_of_its_type_is_refused(kind, value):
    with pytest.raises(ValueError, match=r"is no|hexadecimal"):
        hash_values([kind], [value])
