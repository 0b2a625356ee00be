from dataclasses import replace

import pytest

from openflock.edge.blobs import DirectoryStore
from openflock.node.reader import KEPT_STATES, Reader, remember
from openflock.protocol.ports import BlobCorrupt, BlobMissing
from openflock.protocol.types import Merged, Proposal
from openflock.update.admission import Inadmissible
from openflock.update.codec import encode_state, encode_update, get_digest, max_update_size, stream_state
from openflock.update.container import Malformed
from openflock.update.fixed import initial_state
from openflock.update.merge import Past

from ..update.examples import SMALL, fill_update

STATE = initial_state(SMALL, b"reader")
GOOD = encode_update(fill_update(STATE, 1))
CEILING = 2**40


@pytest.fixture
def reader(tmp_path):
    return Reader(DirectoryStore(tmp_path))


def publish(reader, blob, size=None):
    return Proposal(reader.store.put(blob), size or len(blob))


def test_a_state_that_was_put_is_fetched_and_decoded_once(reader):
    name = reader.put_state(stream_state(STATE))
    assert name == get_digest(STATE)
    found = reader.fetch_state(name)
    assert encode_state(found) == encode_state(STATE)
    assert get_digest(found) == name
    assert reader.fetch_state(name) is found
    assert Reader(reader.store).fetch_state(name) is not found


def test_only_the_last_states_are_remembered(reader, tmp_path):
    names = [reader.put_state(stream_state(replace(STATE, step=step))) for step in range(KEPT_STATES + 1)]
    first, *others = [reader.fetch_state(name) for name in names]
    assert [reader.fetch_state(name) for name in names[1:]] == others
    assert reader.fetch_state(names[0]) is not first


@pytest.mark.parametrize(("spoil", "error"), [(lambda file: file.unlink(), BlobMissing),
                                              (lambda file: file.write_bytes(b"torn"), BlobCorrupt)])  # fmt: skip
def test_a_lost_or_spoiled_state_is_said_so(reader, tmp_path, spoil, error):
    name = reader.put_state(stream_state(STATE))
    spoil(tmp_path / name.hex())
    with pytest.raises(error):
        reader.fetch_state(name)


def test_what_is_no_state_is_not_decoded(reader):
    with pytest.raises(Malformed):
        reader.fetch_state(reader.store.put(GOOD))


def test_an_update_is_admitted_once_whoever_asks_again(reader, tmp_path):
    proposal = publish(reader, GOOD)
    admitted = reader.admit(STATE, proposal, CEILING)
    (tmp_path / proposal.digest.hex()).unlink()
    assert reader.admit(STATE, proposal, CEILING) is admitted
    assert encode_update(admitted) == GOOD
    with pytest.raises(BlobMissing):
        reader.admit(initial_state(SMALL, b"other"), proposal, CEILING)


def test_who_announces_less_than_it_brings_is_not_served_from_memory(reader):
    reader.admit(STATE, publish(reader, GOOD), CEILING)
    with pytest.raises(BlobCorrupt, match="larger than"):
        reader.admit(STATE, publish(reader, GOOD, len(GOOD) - 1), CEILING)


def test_what_is_inadmissible_stays_so(reader):
    for blob in (b"", GOOD[:-1], encode_update(fill_update(initial_state(SMALL, b"other"), 1))):
        proposal = publish(reader, blob, 1000)
        for _ in range(2):
            with pytest.raises(Inadmissible):
                reader.admit(STATE, proposal, CEILING)


def test_what_announces_more_than_any_update_has_is_refused_unread(reader):
    size = max_update_size(STATE)
    with pytest.raises(BlobMissing):
        reader.admit(STATE, Proposal(b"\1" * 32, size), CEILING)
    with pytest.raises(Inadmissible, match="over the"):
        reader.admit(STATE, Proposal(b"\1" * 32, size + 1), CEILING)


def test_the_oldest_goes_first():
    kept = {}
    for key in "abcd":
        remember(kept, 3, key, key.upper())
    assert kept == {"b": "B", "c": "C", "d": "D"}


# --- What was merged before ----------------------------------------------------------------------------------

NODE = "0x1"
LATER = replace(STATE, step=2)  # trains what the first trains; one round lies between


def merge(reader, blob):
    """The round that merged a blob into the first state, and one between."""
    return [
        Merged(get_digest(STATE), (publish(reader, blob),), (NODE,)),
        Merged(bytes(32), (Proposal(bytes(32), 9),), ("another",)),
    ]


def test_what_comparable_rounds_merged_is_fetched_and_no_more(reader):
    [found] = reader.recall(LATER, merge(reader, GOOD))
    assert found.node == NODE
    assert encode_update(found.update) == GOOD
    assert found.update.parent == get_digest(STATE)
    assert reader.recall(LATER, merge(reader, GOOD)) == [found]


def test_what_was_admitted_in_its_round_is_remembered_in_a_later_one(reader, tmp_path):
    merged = merge(reader, GOOD)
    admitted = reader.admit(STATE, merged[0].proposals[0], CEILING)
    (tmp_path / merged[0].proposals[0].digest.hex()).unlink()
    assert reader.recall(LATER, merged) == [Past(NODE, admitted, 1)]


def test_nobody_can_say_what_is_old_without_what_was_merged(reader, tmp_path):
    merged = merge(reader, GOOD)
    (tmp_path / merged[0].proposals[0].digest.hex()).unlink()
    with pytest.raises(BlobMissing):
        reader.recall(LATER, merged)


def test_what_a_false_majority_merged_and_is_no_update_is_left_out(reader):
    assert reader.recall(LATER, merge(reader, b"no update")) == []
    assert reader.recall(LATER, [replace(merge(reader, GOOD)[0], base=bytes(32)), Merged(bytes(32), (), ())]) == []
