import random
from contextlib import suppress

import libtorrent as lt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.edge.outline import (
    BLOCK,
    LARGEST,
    MAX_OUTLINE,
    MAX_SIZE,
    SMALLEST,
    BadOutline,
    Outline,
    build_torrent,
    compute_outline,
    compute_piece_length,
    decode_outline,
)

PIECE = SMALLEST
SIZES = [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE, 5 * PIECE + BLOCK + 7]
DIGEST = bytes(range(32))


@pytest.mark.parametrize("size", SIZES)
def test_the_torrent_is_the_one_that_libtorrent_makes_of_the_file(size, tmp_path):
    data = random.Random(size).randbytes(size)
    path = tmp_path / DIGEST.hex()
    path.write_bytes(data)
    flags = lt.create_torrent.v2_only | lt.create_torrent.no_attributes
    theirs = lt.create_torrent(lt.list_files(str(path)), compute_piece_length(size), flags)
    lt.set_piece_hashes(theirs, str(tmp_path))
    ours, made = build_torrent(DIGEST, compute_outline(data)), theirs.generate()
    assert (ours[b"info"], ours[b"piece layers"]) == (made[b"info"], made[b"piece layers"])


@pytest.mark.parametrize("size", [*SIZES, 2**30, MAX_SIZE])
def test_a_torrent_holds_one_file_and_nothing_else(size):
    pieces = -(-size // compute_piece_length(size))
    torrent = build_torrent(DIGEST, Outline(size, random.Random(1).randbytes(32 * pieces)))
    loaded = lt.load_torrent_buffer(lt.bencode(torrent))
    assert list(torrent[b"info"][b"file tree"]) == [DIGEST.hex().encode()]
    assert (loaded.ti.name(), loaded.ti.size_on_disk()) == (DIGEST.hex(), size)
    assert not loaded.ti.info_hashes().has_v1()
    assert (loaded.trackers, loaded.url_seeds, loaded.dht_nodes) == ([], [], [])


@given(st.integers(1, MAX_SIZE))
def test_pieces_are_powers_of_two_and_few(size):
    length = compute_piece_length(size)
    assert SMALLEST <= length <= LARGEST
    assert length & (length - 1) == 0
    assert size <= 1024 * length or length == LARGEST


@pytest.mark.parametrize("size", SIZES)
def test_an_outline_comes_back(size):
    outline = compute_outline(bytes(size))
    assert decode_outline(outline.encode()) == outline


@given(st.binary(max_size=200))
def test_what_is_no_outline_is_refused_or_comes_back(data):
    with suppress(BadOutline):
        assert decode_outline(data).encode() == data


@pytest.mark.parametrize(
    "outline",
    [Outline(0, b""), Outline(5, b""), Outline(5, bytes(64)), Outline(PIECE + 1, bytes(32)), Outline(5, bytes(31)),
     Outline(MAX_SIZE + 1, bytes(MAX_OUTLINE))],
)  # fmt: skip
def test_an_outline_has_a_hash_for_each_piece_and_a_size_that_may_be(outline):
    with pytest.raises(BadOutline, match="an outline of"):
        decode_outline(outline.encode())
