"""The contracts as compiled by `scripts/compile_contracts.py`: ABI and bytecode, which ship with the package."""

import json
from importlib.resources import files
from typing import Any


def load_compiled(name: str) -> dict[str, Any]:
    """Load a contract's compiled form: `abi`, `bytecode`, and how it was compiled."""
    compiled: dict[str, Any] = json.loads(files(__package__).joinpath(f"{name}.json").read_text())
    return compiled
