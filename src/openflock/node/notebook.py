"""Keep the clues that a node knows in a file: what fired when it tested it, and what others upheld."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Final

from openflock.learn.probe import Clue, is_fair, parse_clue
from openflock.protocol.encoding import parse_json

LENGTH: Final = 32  # clues of each kind

Page = list[Clue]


class Notebook:
    """One node's clues. A lost notebook costs no money: what fires is found again."""

    def __init__(self, path: Path) -> None:
        """Keep clues in this file, one a line."""
        self._path = path

    def read(self) -> tuple[Clue, ...]:
        """Read the clues that fired for this node, the last to fire last; while there are none, those of hearsay.

        A ring can have junk upheld beside a true witness, but not past a node's own test.
        """
        heard, tested = self._read()
        return tuple(tested or heard)

    def note(self, clue: Clue, *, tested: bool) -> None:
        """Write down a clue, as `tested` if it fired for this node; what no re-test would uphold is left out."""
        heard, known = self._read()
        if is_fair(clue) and (tested or clue not in heard + known):
            heard, known = _drop(clue, heard), _drop(clue, known)
            (known if tested else heard).append(clue)
            self._write(heard, known)

    def strike(self, clue: Clue) -> None:
        """Forget a clue: what others deny is not to be tried again, for a bond each time."""
        heard, tested = self._read()
        if clue in heard + tested:
            self._write(_drop(clue, heard), _drop(clue, tested))

    def _read(self) -> tuple[Page, Page]:
        """Read both pages; a broken line is lost alone."""
        pages: tuple[Page, Page] = [], []
        with suppress(OSError):
            for line in self._path.read_bytes().splitlines():
                with suppress(ValueError, TypeError, KeyError, AttributeError):
                    fields = parse_json(line)
                    pages[bool(fields.pop("tested"))].append(parse_clue(json.dumps(fields).encode()))
        return pages

    def _write(self, *pages: Page) -> None:
        lines = [
            json.dumps({**asdict(clue), "tested": bool(page)}) + "\n"
            for page, clues in enumerate(pages)
            for clue in clues[-LENGTH:]
        ]
        partial = self._path.with_suffix(".partial")
        with suppress(OSError):  # a full disk must not cost the vote that the clue came from
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial.write_text("".join(lines))
            partial.replace(self._path)


def _drop(clue: Clue, page: Page) -> Page:
    return [each for each in page if each != clue]
