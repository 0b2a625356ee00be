"""Sealed rows: a task's creator names them by digest before anybody joins, and opens a part of them in each round.

Nobody can train on what is not open yet, and all voters examine updates on the same rows: so the only holder of a
domain has a witness, and a ring that holds a domain alone cannot praise itself. The creator stays able to
leak rows to friends; what it seals is public afterwards, so everybody can look at it.
"""

import json
from collections.abc import Sequence
from typing import Final

from openflock.learn.data import DataError, Row, parse_row
from openflock.protocol.encoding import parse_json
from openflock.protocol.ports import Blob

MAX_SEALED_SIZE: Final = 2**24  # bytes of a round's rows


class BadSealed(ValueError):
    """A blob that holds no rows to examine with."""


def encode_sealed(rows: Sequence[Sequence[Row]], nonce: bytes) -> bytes:
    """Encode a round's rows by domain; `nonce` is secret, lest who guesses the rows can tell that they are these."""
    listed = [[_encode_row(row) for row in group] for group in rows]
    return json.dumps({"nonce": nonce.hex(), "rows": listed}, separators=(",", ":")).encode()


def decode_sealed(blob: Blob, domains: int) -> list[list[Row]]:
    """Decode a round's rows: at least one of each domain, else BadSealed."""
    try:
        listed = parse_json(bytes(blob))["rows"]
        rows = [[parse_row(record, "sealed rows") for record in group] for group in listed]
    except (ValueError, TypeError, KeyError, DataError) as error:
        raise BadSealed(f"not the sealed rows of a round: {error}") from error
    if len(rows) != domains or not all(rows):
        raise BadSealed(f"sealed rows must be of each of the {domains} domains")
    return rows


def _encode_row(row: Row) -> dict[str, object]:
    turns = [*row.messages, ("assistant", row.completion)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}
