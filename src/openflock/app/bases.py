"""Find a base by the name that a configuration or a job gives it: `built-in`, a directory, or a hub id."""

import re
from importlib.resources import files
from pathlib import Path
from typing import Final

from openflock.app.settings import BUILT_IN, SettingsError
from openflock.learn.base import compute_base_digest, resolve_base
from openflock.protocol.job import Job
from openflock.protocol.rules import Rules

HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def locate_base(named: str) -> Path:
    """Give the base's path, or the id that the hub knows it by."""
    return Path(str(files("openflock") / "assets" / "base")) if named == BUILT_IN else Path(named)


def write_base(named: str) -> str:
    """Write a base's name as it holds wherever the files that name it go: a directory in full, a hub id as it is.

    SettingsError for anything else: a task's creator chose the name, and people load what it says.
    """
    base = locate_base(named)
    if not base.is_dir() and not HUB_ID.fullmatch(named):
        raise SettingsError(f"base {named!r}: neither a directory here nor a hub id owner/name; name it with --base")
    return str(base.resolve()) if base.is_dir() else named


def find_base(base: str | None, job: Job, rules: Rules) -> Path:
    """Find the base and compare its files with the rules; SettingsError, or BaseError."""
    named = base or job.base
    path = resolve_base(locate_base(named))
    found = compute_base_digest(path)
    if found != rules.base:
        raise SettingsError(
            f"base {named}: its files are {found.hex()[:12]}, the task's are {rules.base.hex()[:12]}; give the right"
            " ones with --base"
        )
    return path
