import pytest
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol import commitment
from openflock.protocol.commitment import compute_commitment
from openflock.protocol.types import Act

from .helpers import OUTSIDER, PROPOSER, make_address

PLAIN = {
    "chain": 1,
    "task": make_address("task"),
    "round_number": 1,
    "act": Act.BALLOT,
    "node": PROPOSER,
    "content": bytes(32),
    "salt": bytes(32),
}
words = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(
    "change",
    [
        {"chain": 2}, {"task": OUTSIDER}, {"round_number": 2}, {"act": Act.ATTESTATION}, {"node": OUTSIDER},
        {"content": b"\1" * 32}, {"salt": b"\1" * 32},
    ],
)  # fmt: skip
def test_a_commitment_binds_everything(change):
    assert compute_commitment(**PLAIN | change) != compute_commitment(**PLAIN)


def test_a_commitment_is_the_keccak_of_seven_words():
    words = [
        (1).to_bytes(32, "big"), bytes(12) + bytes.fromhex(make_address("task")[2:]), (1).to_bytes(32, "big"),
        (2).to_bytes(32, "big"), bytes(12) + bytes.fromhex(PROPOSER[2:]), bytes(32), bytes(32),
    ]  # fmt: skip
    assert compute_commitment(**PLAIN) == keccak(b"".join(words))


@given(words, st.integers(0, 2**64 - 1), st.booleans())
def test_contents_of_different_openings_differ(digest, number, veto):
    contents = [
        commitment.compute_update_content(digest, number),
        commitment.compute_witness_content(number, digest),
        commitment.compute_attestation_content(digest, number, veto),
        commitment.compute_attestation_content(digest, number, not veto),
        commitment.compute_attestation_content(digest, number + 1, veto),
    ]
    expected = 4 if int.from_bytes(digest, "big") == number else 5
    assert len(set(contents)) == expected
    assert all(len(content) == 32 for content in contents)
