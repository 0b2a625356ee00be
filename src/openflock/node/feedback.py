"""Keep what rounding left out of an update, to add it to the next one (error feedback; arXiv 1901.09847).

It belongs to one factor and to an update that was merged. An update that was refused takes its rest with it: what
others refused is not to come back in pieces. A file a factor, private as the rows are, survives restarts.
"""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from openflock.protocol.types import Digest
from openflock.update.fixed import FACTORS, Factor, Vector

MAX_AGE = 4  # accepted steps; a rest older than that speaks of a state that is gone


class Feedback:
    """The rests of one node's updates in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        """Keep rests in a directory that only this user may read."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def recall(self, factor: Factor, step: int, size: int) -> Vector:
        """Read the rest for a factor at a step, in units of 2**-24; zeros if there is none that still counts.

        What was offered at an earlier step and never settled may have been merged, and the rest before it with it.
        """
        offered = self._read_metadata(self._locate(factor, offered=True)).get("step", "")
        if offered.isdecimal() and int(offered) < step:
            return np.zeros(size, np.int32)
        try:
            with safe_open(self._locate(factor), framework="np") as stored:
                rest, made = stored.get_tensor("rest"), int((stored.metadata() or {})["step"])
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            return np.zeros(size, np.int32)  # a lost rest costs a little precision, once
        fits = rest.dtype == np.int32 and rest.shape == (size,) and made < step <= made + MAX_AGE
        return rest if fits else np.zeros(size, np.int32)

    def offer(self, factor: Factor, step: int, rest: Vector, update: Digest) -> None:
        """Write down the rest of an update that is on its way, by its digest; it replaces what was offered before."""
        self._write(self._locate(factor, offered=True), rest, {"step": str(step), "update": update.hex()})

    def settle(self, update: Digest, *, merged: bool, judged: bool) -> None:
        """Keep the offered rests if their update was merged, drop old and new if it was refused; else only the new.

        What was offered of another update is left alone: one that is on its way is nothing of the round that ended.
        """
        for factor in FACTORS:
            kept, offered = self._locate(factor), self._locate(factor, offered=True)
            if self._read_metadata(offered).get("update") != update.hex():
                continue
            if merged:
                offered.replace(kept)
            else:
                if judged:
                    kept.unlink(missing_ok=True)
                offered.unlink()

    def _locate(self, factor: str, *, offered: bool = False) -> Path:
        return self._directory / f"{factor}{'.offered' if offered else ''}.safetensors"

    def _read_metadata(self, path: Path) -> dict[str, str]:
        """Read at which step, and of which update, a rest was left; empty if there is none."""
        try:
            with safe_open(path, framework="np") as stored:
                return stored.metadata() or {}
        except (FileNotFoundError, SafetensorError):
            return {}

    def _write(self, path: Path, rest: Vector, metadata: dict[str, str]) -> None:
        partial = path.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_bytes(save({"rest": rest}, metadata=metadata))
        partial.replace(path)
