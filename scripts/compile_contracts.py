"""Compile the deployable contracts into `src/openflock/edge/compiled`, from where nodes deploy and call them.

Run it after every change under `contracts/`; a test compares what it wrote with the sources. Nodes need no compiler.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import vyper
from vyper.compiler import compile_from_file_input
from vyper.compiler.input_bundle import FilesystemInputBundle
from vyper.compiler.settings import OptimizationLevel, Settings

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "contracts"
COMPILED = ROOT / "src" / "openflock" / "edge" / "compiled"
DEPLOYABLES = ("Task", "TaskFactory", "Token")
EVM_VERSION = "cancun"  # the oldest with what the compiler needs to be short: MCOPY and transient locks
CODE_LIMIT = 24_576  # EIP-170; a blueprint is code too, and holds the constructor


def compile_contract(name: str) -> dict[str, Any]:
    """Compile one deployable; `blueprint` is the code that deploys it as an ERC-5202 blueprint."""
    packages = [path for path in sys.path if path and Path(path).is_dir()]
    bundle = FilesystemInputBundle([*map(Path, packages), SOURCES])
    formats = ["abi", "bytecode", "bytecode_runtime", "blueprint_bytecode", "layout"]
    settings = Settings(optimize=OptimizationLevel.CODESIZE, evm_version=EVM_VERSION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's, about its own dependencies
        output = compile_from_file_input(
            bundle.load_file(SOURCES / f"{name}.vy"), input_bundle=bundle, output_formats=formats, settings=settings
        )
    return {
        "name": name,
        "vyper": vyper.__version__,
        "settings": {"optimize": "codesize", "evm_version": EVM_VERSION},
        "size": len(output["bytecode_runtime"]) // 2 - 1 + _measure_immutables(output["layout"]),
        "blueprint_size": len(output["bytecode"]) // 2 - 1 + 3,
        "abi": output["abi"],
        "bytecode": output["bytecode"],
        "blueprint": output["blueprint_bytecode"],
    }


def _measure_immutables(layout: dict[str, Any]) -> int:
    """Measure what deploying appends to the runtime code, from the tree of modules that the compiler reports."""
    end = 0
    remaining = [layout.get("code_layout", {})]
    while remaining:
        for entry in remaining.pop().values():
            if "length" in entry and "offset" in entry:
                end = max(end, entry["offset"] + entry["length"])
            else:
                remaining.append(entry)
    return end


def render(contract: dict[str, Any]) -> str:
    """Write a compiled contract as the text of its file."""
    return json.dumps(contract, indent=1) + "\n"


def main() -> None:
    """Compile all and say how far each is from the limit of its size; with --check, write nothing and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a compiled file is not that of its source")
    check = parser.parse_args().check
    COMPILED.mkdir(parents=True, exist_ok=True)
    for name in DEPLOYABLES:
        contract, file = compile_contract(name), COMPILED / f"{name}.json"
        if not check:
            file.write_text(render(contract))
        elif not file.exists() or file.read_text() != render(contract):
            sys.exit(f"{file} is not compiled from contracts/{name}.vy as it stands; run: make contracts")
        print(f"{name}: {contract['size']} bytes, as a blueprint {contract['blueprint_size']}, of {CODE_LIMIT}")


if __name__ == "__main__":
    main()
