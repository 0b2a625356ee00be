"""Keep what rounding left out of an update, to add it to the next one (error feedback; arXiv 1901.09847).

It belongs to one factor and to an update that was merged. An update that was refused takes its rest with it: what
others refused is not to come back in pieces. A file a factor, private as the rows are, survives restarts.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from openflock.update.fixed import Factor, Vector

MAX_AGE = 4  # accepted steps; a rest older than that speaks of a state that is gone


class Feedback:
    """The rests of one node's updates in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        """Keep rests in a directory that only this user may read."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def recall(self, factor: Factor, step: int, size: int) -> Vector:
        """Read the rest for a factor at a step, in units of 2**-24; zeros if there is none that still counts."""
        found = self._read(self._locate(factor), size)
        if found is None or not found[1] < step <= found[1] + MAX_AGE:
            return np.zeros(size, np.int32)
        return found[0]

    def offer(self, factor: Factor, step: int, rest: Vector) -> None:
        """Write down the rest of an update that is on its way; offered again, it replaces what was offered before."""
        self._write(self._locate(factor, offered=True), step, rest)

    def settle(self, *, merged: bool, judged: bool) -> None:
        """Keep the offered rests if their update was merged, drop old and new if it was refused; else only the new."""
        for factor in ("A", "B"):
            kept, offered = self._locate(factor), self._locate(factor, offered=True)
            if not offered.exists():
                continue
            if merged:
                offered.replace(kept)
            else:
                offered.unlink()
                if judged:
                    kept.unlink(missing_ok=True)

    def _locate(self, factor: str, *, offered: bool = False) -> Path:
        return self._directory / f"{factor}{'.offered' if offered else ''}.safetensors"

    def _read(self, path: Path, size: int) -> tuple[Vector, int] | None:
        try:
            with safe_open(path, framework="np") as stored:
                rest, step = stored.get_tensor("rest"), int((stored.metadata() or {})["step"])
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            return None  # a lost rest costs a little precision, once
        return (rest, step) if rest.dtype == np.int32 and rest.shape == (size,) else None

    def _write(self, path: Path, step: int, rest: Vector) -> None:
        partial = path.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_bytes(save({"rest": rest}, metadata={"step": str(step)}))
        partial.replace(path)
