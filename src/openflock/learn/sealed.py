"""Sealed rows: a task's creator names them by digest before anybody joins, and opens a part of them in each round.

Nobody can train on what is not open yet, and all voters examine updates on the same rows: so the only holder of a
domain is seen by others, and a ring that holds a domain alone cannot praise itself. A blob is one line of JSON with a
nonce, then one for each row.
"""

import json
from collections.abc import Sequence
from typing import Final

from openflock.learn.data import DataError, Row, parse_row
from openflock.protocol.encoding import parse_json
from openflock.protocol.ports import Blob

MAX_SEALED_SIZE: Final = 2**22  # bytes of a round's rows
MAX_SEALED_ROWS: Final = 64  # of a domain in a round: all voters score all updates on them


class BadSealed(ValueError):
    """A blob that holds no rows to examine with."""


def encode_sealed(rows: Sequence[Sequence[Row]], nonce: bytes) -> bytes:
    """Encode a round's rows by domain; `nonce` is secret, lest who guesses the rows can tell that they are these.

    Raises BadSealed if nobody could decode them: too many or too long, or a domain without any.
    """
    records = [_encode_row(domain, row) for domain, group in enumerate(rows) for row in group]
    lines = [json.dumps(record, separators=(",", ":")) for record in ({"nonce": nonce.hex()}, *records)]
    blob = "\n".join(lines).encode()
    decode_sealed(blob, len(rows))
    return blob


def decode_sealed(blob: Blob, domains: int) -> list[list[Row]]:
    """Decode a round's rows: 1 to 64 of each domain, else BadSealed."""
    if len(blob) > MAX_SEALED_SIZE:
        raise BadSealed(f"sealed rows take {len(blob)} bytes; a round may have {MAX_SEALED_SIZE}")
    rows: list[list[Row]] = [[] for _ in range(domains)]
    try:
        for line in bytes(blob).split(b"\n")[1:]:
            record = parse_json(line)
            if record["domain"] not in range(domains):
                raise BadSealed(f"sealed rows name domain {record['domain']!r:.20}, which the task does not have")
            rows[record["domain"]].append(parse_row(record, "sealed rows"))
    except (ValueError, TypeError, KeyError, DataError) as error:
        raise BadSealed(f"not the sealed rows of a round: {error}") from error
    if not all(1 <= len(group) <= MAX_SEALED_ROWS for group in rows):
        raise BadSealed(f"sealed rows must be 1 to {MAX_SEALED_ROWS} of each of the {domains} domains")
    texts = (text for group in rows for row in group for text in _list_texts(row))
    if any("\ud800" <= letter <= "\udfff" for text in texts for letter in text):
        raise BadSealed("sealed rows hold half of a surrogate pair, which is no text")
    return rows


def _encode_row(domain: int, row: Row) -> dict[str, object]:
    turns = [*row.messages, ("assistant", row.completion)]
    return {"domain": domain, "messages": [{"role": role, "content": content} for role, content in turns]}


def _list_texts(row: Row) -> list[str]:
    return [row.completion, *(text for turn in row.messages for text in turn)]
