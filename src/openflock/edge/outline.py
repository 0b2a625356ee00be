"""What a swarm must know of a blob before it has it: its size and the hashes of its pieces (BitTorrent v2, BEP 52).

A torrent is computed from the digest and this outline alone, so nothing in it can be anybody's choice: one file,
named by the digest in hex, no trackers, no web seeds, no other path. The same blob makes the same torrent everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from openflock.protocol.ports import Blob
from openflock.protocol.types import Digest

BLOCK: Final = 2**14  # bytes of a leaf of the hash tree, fixed by BEP 52
PIECES: Final = 2**10  # pieces to aim at: few enough to be a small outline, many enough for peers to trade
SMALLEST, LARGEST = 2**16, 2**24  # bytes of a piece
MAX_SIZE: Final = 2**40  # bytes of a blob
MAX_OUTLINE: Final = 8 + 32 * (MAX_SIZE // LARGEST)  # bytes
NOTHING: Final = bytes(32)  # stands for a block after the end


class BadOutline(ValueError):
    """Bytes that are no outline of any blob."""


@dataclass(frozen=True)
class Outline:
    """A blob's size, and one hash for each piece."""

    size: int
    layer: bytes

    def encode(self) -> bytes:
        """Write it as bytes."""
        return self.size.to_bytes(8, "big") + self.layer


def decode_outline(data: bytes) -> Outline:
    """Read an outline that somebody sent; raise BadOutline unless there is a hash for each piece."""
    outline = Outline(int.from_bytes(data[:8], "big"), data[8:])
    if not 0 < outline.size <= MAX_SIZE:
        raise BadOutline(f"an outline of {outline.size} bytes")
    pieces = -(-outline.size // compute_piece_length(outline.size))
    if len(outline.layer) != 32 * pieces:
        raise BadOutline(f"an outline of {len(outline.layer)} bytes for {pieces} pieces")
    return outline


def compute_piece_length(size: int) -> int:
    """Choose a power of two, so that all who have a blob cut it alike.

    >>> compute_piece_length(1), compute_piece_length(500_000_000), compute_piece_length(2**40)
    (65536, 524288, 16777216)
    """
    return min(max(SMALLEST, 1 << (-(-size // PIECES) - 1).bit_length()), LARGEST)


def compute_outline(blob: Blob) -> Outline:
    """Hash a blob piece by piece; it may not be empty."""
    size, view = len(blob), memoryview(blob)
    length = compute_piece_length(size)
    height = (length // BLOCK - 1).bit_length() if size > length else None
    layer = [_hash_piece(view[start : start + length], height) for start in range(0, size, length)]
    return Outline(size, b"".join(layer))


def build_torrent(digest: Digest, outline: Outline) -> dict[bytes, Any]:
    """Write the torrent of a blob, still to be bencoded."""
    length, name = compute_piece_length(outline.size), digest.hex().encode()
    root = _compute_root(outline.layer, length)
    info = {
        b"file tree": {name: {b"": {b"length": outline.size, b"pieces root": root}}},
        b"meta version": 2,
        b"name": name,
        b"piece length": length,
    }
    return {b"info": info, b"piece layers": {root: outline.layer} if outline.size > length else {}}


def _hash_piece(piece: memoryview, height: int | None) -> bytes:
    leaves = [sha256(piece[start : start + BLOCK]).digest() for start in range(0, len(piece), BLOCK)]
    return _fold(leaves, NOTHING, height)


def _compute_root(layer: bytes, length: int) -> bytes:
    empty = _fold([NOTHING], NOTHING, (length // BLOCK - 1).bit_length())
    return _fold([layer[start : start + 32] for start in range(0, len(layer), 32)], empty, None)


def _fold(hashes: Sequence[bytes], filler: bytes, height: int | None) -> bytes:
    """Hash pairs, so many levels high or up to one hash; the filler takes the place of what a pair lacks."""
    level = list(hashes)
    for _ in range((len(level) - 1).bit_length() if height is None else height):
        if len(level) % 2:
            level.append(filler)
        level = [sha256(level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
        filler = sha256(filler + filler).digest()
    return level[0]
