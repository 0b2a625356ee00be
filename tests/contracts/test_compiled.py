"""What ships fits on a chain. That it is what the sources say is checked by `make check`."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("compile_contracts", ROOT / "scripts" / "compile_contracts.py")
compiler = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(compiler)


@pytest.mark.parametrize("name", compiler.DEPLOYABLES)
@pytest.mark.parametrize("size", ["size", "blueprint_size"])
def test_contracts_are_within_the_limit_of_code(name, size):
    contract = json.loads((compiler.COMPILED / f"{name}.json").read_text())
    spare = compiler.CODE_LIMIT - contract[size]
    print(f"{name}: {contract[size]} bytes, {spare} to spare")
    assert spare >= 0


def test_every_deployable_says_how_to_end_it():
    deployables = [path for path in compiler.SOURCES.glob("*.vy") if path.stem[0].isupper()]
    assert {path.stem for path in deployables} == set(compiler.DEPLOYABLES)
    assert all("@custom:kill" in path.read_text() for path in deployables)
