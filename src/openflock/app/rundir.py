"""A run directory: where a simulated task keeps its log, blobs, journal, metrics and summary."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openflock.app.settings import Config, SettingsError
from openflock.edge.blobs import write_atomically
from openflock.edge.journal import hold_journal, remove_journal
from openflock.protocol.encoding import parse_json

CONTENTS = ("run.json", "events.jsonl", "metrics.jsonl")
FOLDERS = ("blobs", "outbox", "chest", "adapter", "checkpoints", "feedback", "notebooks")


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run, and its `run.json`."""

    path: Path

    @property
    def events(self) -> Path:
        """The ledger's log."""
        return self.path / "events.jsonl"

    @property
    def blobs(self) -> Path:
        """The blob store."""
        return self.path / "blobs"

    @property
    def outbox(self) -> Path:
        """The bytes behind the nodes' commitments, until they are opened."""
        return self.path / "outbox"

    @property
    def chest(self) -> Path:
        """The rows that the creator has not opened yet."""
        return self.path / "chest"

    @property
    def journal(self) -> Path:
        """The nodes' journal."""
        return self.path / "journal.db"

    @property
    def metrics(self) -> Path:
        """Losses by round, one line a round."""
        return self.path / "metrics.jsonl"

    @property
    def adapter(self) -> Path:
        """The final state as a PEFT adapter."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """Interrupted trainings."""
        return self.path / "checkpoints"

    @property
    def feedback(self) -> Path:
        """What rounding left out of the nodes' updates."""
        return self.path / "feedback"

    @property
    def notebooks(self) -> Path:
        """The clues that the nodes know."""
        return self.path / "notebooks"

    def read(self) -> dict[str, Any]:
        """Read `run.json`; raise SettingsError if there is none or it is broken."""
        file = self.path / "run.json"
        try:
            run = parse_json(file.read_bytes())
        except FileNotFoundError as error:
            raise SettingsError(f"{self.path} is not a run directory: it has no run.json") from error
        except (ValueError, RecursionError) as error:
            raise SettingsError(f"{file}: not JSON: {error}") from error
        if not isinstance(run, dict):
            raise SettingsError(f"{file}: not an object")
        return run

    def write(self, run: dict[str, Any]) -> None:
        """Replace `run.json`."""
        write_atomically(self.path / "run.json", json.dumps(run, indent=2).encode() + b"\n")

    def open(self, config: Config) -> dict[str, Any]:
        """Start a run here, or find the one that this configuration started; raise SettingsError on another's."""
        started = config.model_dump()
        if not (self.path / "run.json").exists():
            if self.path.exists() and any(not file.name.startswith(".writing-") for file in self.path.iterdir()):
                raise SettingsError(f"{self.path} holds other files; choose another --out")
            self.path.mkdir(parents=True, exist_ok=True)
            self.write({"config": started, "finished": False})
        run = self.read()
        before = Config().model_dump() | run.get("config", {})  # a run may be older than a key
        differing = [key for key, value in started.items() if before[key] != value]
        if differing and not run.get("finished") and not self.events.exists():
            self.clear()  # what stood here never began: nothing is lost by mending its configuration
            return self.open(config)
        if differing:
            raise SettingsError(
                f"{self.path} holds a run with another configuration ({', '.join(differing)}); choose another --out"
            )
        return run

    def clear(self) -> None:
        """Remove a run, and nothing else that lies beside it; raise JournalLocked while a process plays it."""
        with hold_journal(self.journal):
            for name in CONTENTS:
                (self.path / name).unlink(missing_ok=True)
            for name in FOLDERS:
                shutil.rmtree(self.path / name, ignore_errors=True)
            remove_journal(self.journal)
