"""Read what every strategy earned from the file that benchmarks/economics.py writes, for the report."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class Bounds(BaseModel):
    """An interval as the file has it."""

    model_config = ConfigDict(frozen=True)

    low: float
    point: float
    high: float


class Earning(BaseModel):
    """What came of one scenario's subject, in tokens a round for each 100 at stake; other keys are left alone."""

    model_config = ConfigDict(frozen=True)

    scenario: str
    role: str
    profit: Bounds
    advantage: Bounds | None = None  # over the same seats held honestly; None where nobody cheats


class _Results(BaseModel):
    findings: tuple[Earning, ...]


class BadEarnings(ValueError):
    """A file that the economy's benchmark did not write."""


def read_earnings(path: Path) -> Sequence[Earning]:
    """Read the findings; raise BadEarnings, or OSError if there is no such file."""
    try:
        return _Results.model_validate(json.loads(path.read_bytes())).findings
    except (ValueError, ValidationError) as error:
        raise BadEarnings(f"{path}: no results of benchmarks/economics.py; write some with its --json") from error
