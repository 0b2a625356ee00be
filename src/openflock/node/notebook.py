"""Keep the clues that a node knows in a file: what it found or upheld itself, and what others upheld.

All that is in it was said in public, or will be. A lost notebook costs no money: what fires is found again.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from openflock.learn.probe import Clue, parse_clue
from openflock.protocol.encoding import parse_json

LENGTH: Final = 32  # clues


class Notebook:
    """One node's clues, the surest last, and of equally sure ones the newest.

    Who posts junk beside a true witness gets it written down with it, but before all that this node tested itself.
    """

    def __init__(self, path: Path) -> None:
        """Keep clues in this file."""
        self._path = path

    def read(self) -> tuple[Clue, ...]:
        """Read all clues; none if the file is lost or broken."""
        heard, tested = self._read()
        return tuple(heard + tested)

    def note(self, clue: Clue, *, tested: bool) -> None:
        """Write down a clue, as `tested` if it fired for this node."""
        heard, known = self._read()
        if clue not in known + ([] if tested else heard):
            heard = [each for each in heard if each != clue]
            (known if tested else heard).append(clue)
            self._write(heard, known)

    def strike(self, clue: Clue) -> None:
        """Forget a clue: what others deny is not to be tried again, for a bond each time."""
        heard, tested = self._read()
        if clue in heard + tested:
            self._write([each for each in heard if each != clue], [each for each in tested if each != clue])

    def _read(self) -> tuple[list[Clue], list[Clue]]:
        try:
            heard, tested = parse_json(self._path.read_bytes())
            return list(map(_parse, heard)), list(map(_parse, tested))
        except (FileNotFoundError, ValueError, TypeError):
            return [], []

    def _write(self, *pages: Sequence[Clue]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps([[asdict(clue) for clue in page[-LENGTH:]] for page in pages]))
        partial.replace(self._path)


def _parse(fields: object) -> Clue:
    return parse_clue(json.dumps(fields).encode())
