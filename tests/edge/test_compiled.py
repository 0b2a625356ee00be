from importlib.resources import files

import pytest

from openflock.edge.compiled import load_compiled


@pytest.mark.parametrize("name", ["Task", "TaskFactory", "Token"])
def test_the_package_carries_every_contract(name):
    compiled = load_compiled(name)
    assert compiled["abi"]
    assert bytes.fromhex(compiled["bytecode"].removeprefix("0x"))


def test_a_task_fits_on_a_chain():
    assert load_compiled("Task")["size"] <= 24_576  # EIP-170


def test_the_blueprint_is_the_tasks_code_behind_its_preamble():
    task = load_compiled("Task")
    # ERC-5202 behind the init code that deploys it: 0xFE71 and version 0, then what a factory creates.
    assert task["bytecode"].removeprefix("0x") in task["blueprint"]
    assert "fe7100" in task["blueprint"][:40]


def test_the_package_carries_the_demo_and_the_base():
    assets = files("openflock") / "assets"
    assert (assets / "demo.toml").is_file()
    assert (assets / "base" / "model.safetensors").is_file()
    assert (files("openflock") / "py.typed").is_file()
