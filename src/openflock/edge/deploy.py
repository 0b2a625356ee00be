"""Deploy what a new chain lacks: a development token, the factory, and a task."""

from collections.abc import Mapping
from dataclasses import astuple
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_typing import HexStr
from web3 import Web3

from openflock.edge.compiled import load_compiled
from openflock.edge.evm_ledger import get_contract
from openflock.edge.transactions import send
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address


def deploy_contract(web3: Web3, account: LocalAccount, name: str, *args: object, gas: int | None = None) -> Address:
    """Deploy a compiled contract and return its address."""
    compiled = load_compiled(name)
    return _deploy(web3, account, compiled["abi"], compiled["bytecode"], args, gas)


def deploy_factory(web3: Web3, account: LocalAccount, gas: int | None = None) -> Address:
    """Deploy the blueprint of all tasks (ERC-5202), and the factory that creates tasks from it."""
    blueprint = _deploy(web3, account, [], load_compiled("Task")["blueprint"], (), gas)
    return deploy_contract(web3, account, "TaskFactory", Web3.to_checksum_address(blueprint), gas=gas)


def _deploy(
    web3: Web3, account: LocalAccount, abi: Any, code: str, args: tuple[object, ...], gas: int | None
) -> Address:
    receipt = send(web3, account, web3.eth.contract(abi=abi, bytecode=HexStr(code)).constructor(*args), gas)
    return str(receipt["contractAddress"]).lower()


def deploy_token(web3: Web3, owner: LocalAccount, balances: Mapping[Address, int], gas: int | None = None) -> Address:
    """Deploy the development token, of which its owner mints at will, and give each account its balance."""
    token = deploy_contract(web3, owner, "Token", gas=gas)
    mint = get_contract(web3, "Token", token).functions.mint
    for account, balance in balances.items():
        send(web3, owner, mint(Web3.to_checksum_address(account), balance), gas)
    return token


def create_task(
    web3: Web3, creator: LocalAccount, factory: Address, token: Address, rules: Rules, gas: int | None = None
) -> Address:
    """Create a task through a factory and return its address."""
    contract = get_contract(web3, "TaskFactory", factory)
    receipt = send(web3, creator, contract.functions.create(Web3.to_checksum_address(token), astuple(rules)), gas)
    (created,) = contract.events.TaskCreated().process_receipt(receipt)
    return str(created["args"]["task"]).lower()
