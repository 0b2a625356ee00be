"""Create a task on a chain: its job and first state into the store, its rules into the contract."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from eth_account.signers.local import LocalAccount
from rich.console import Console
from web3 import Web3

from openflock.app.rows import list_data_domains, seal_rows
from openflock.app.settings import BUILT_IN, TOKEN, Config, SettingsError
from openflock.app.task.funding import check_blocks, check_gas, check_token, fund_task
from openflock.app.task.tables import show_weaknesses
from openflock.app.task.view import check_contract
from openflock.app.words import list_weaknesses
from openflock.app.world import agree_rules, load_task_model
from openflock.edge.blobs import DirectoryStore
from openflock.edge.deploy import create_task, deploy_factory, deploy_token
from openflock.node.reader import Reader
from openflock.protocol.ports import BlobStore
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Amount, Digest

MINTED = 1_000_000 * TOKEN  # of the development token, for who deploys it


@dataclass(frozen=True)
class Created:
    """A new task, and what it was created with."""

    task: Address
    factory: Address
    token: Address
    domains: list[str]
    rules: Rules


def prepare_rules(config: Config, store: BlobStore, chest: Path | None) -> tuple[list[str], Rules]:
    """Put a configuration's job and first state into the store, and what is sealed into the chest.

    Gives its domains, and the rules that bind all of it.
    """
    domains, sealed = list_data_domains(config), list[Digest]()
    if chest and not config.rows.sealed:
        raise SettingsError("--chest: nothing is sealed; set rows.sealed in the configuration, or leave it out")
    if config.rows.sealed:
        if chest is None:
            raise SettingsError("rows.sealed: say with --chest DIR where to keep what you will open round by round")
        if isinstance(store, DirectoryStore) and chest.resolve() == store.directory.resolve():
            raise SettingsError(f"--chest {chest}: is the store, where all look; give a directory of your own")
        sealed = seal_rows(config, domains, DirectoryStore(chest, private=True), secrets.token_bytes(32))
    expected = len(domains) * config.nodes_per_domain
    return domains, agree_rules(config, domains, expected, load_task_model(config), Reader(store), sealed)


def create(
    web3: Web3,
    creator: LocalAccount,
    config: Config,
    store: BlobStore,
    factory: str | None,
    token: str | None,
    fund: Amount,
    console: Console,
    chest: Path | None = None,
) -> Created:
    """Create a task and fund it; without a factory one is deployed, without a token the development token."""
    check_gas(web3, creator.address.lower())
    check_blocks(web3)
    token_address = token and check_token(web3, token, creator.address.lower(), fund)
    factory_address = factory and check_contract(web3, factory, "--factory")
    domains, rules = prepare_rules(config, store, chest)
    console.print("stored the job and the first state")
    if not token_address:
        token_address = deploy_token(web3, creator, {creator.address.lower(): max(MINTED, fund)})
        console.print(f"deployed the development token: --token {token_address}", soft_wrap=True)
    if not factory_address:
        factory_address = deploy_factory(web3, creator)
        console.print(f"deployed a factory of tasks: --factory {factory_address}", soft_wrap=True)
    task = create_task(web3, creator, factory_address, token_address, rules)
    console.print(f"created the task: {task}", soft_wrap=True)
    if fund:
        fund_task(web3, creator, task, fund)
    return Created(task, factory_address, token_address, domains, rules)


def show_created(created: Created, config: Config, join: str, opening: str, console: Console) -> None:
    """Print where a new task's rules are weak, and the lines by which others join and its creator opens sealed rows."""
    stakes = [config.stake] * (config.nodes_per_domain * len(created.domains))  # as the configuration expects them
    toy = ["base = built-in: the package's tiny model, for trials"] if config.base == BUILT_IN else []
    show_weaknesses([*toy, *list_weaknesses(created.rules, stakes, config.nodes_per_domain)], console)
    console.print(f"to take part, DOMAIN one of {', '.join(created.domains)}:", highlight=False)
    console.print(join, soft_wrap=True, highlight=False, markup=False, emoji=False)
    if opening:
        console.print("to open the sealed rows, round by round, for as long as the task runs:", highlight=False)
        console.print(opening, soft_wrap=True, highlight=False, markup=False, emoji=False)


def write_command(task: Address, rpc: str, store: str, confirmations: int = 0) -> str:
    """Write the line by which others take part."""
    join = "--data YOUR_ROWS.jsonl --wallet YOUR_WALLET.json --domain DOMAIN"
    return f"{_write_run(task, rpc, store, confirmations)} {join}"


def write_opening(task: Address, rpc: str, store: str, chest: Path | None, confirmations: int = 0) -> str:
    """Write the line by which a creator opens its sealed rows."""
    return f"{_write_run(task, rpc, store, confirmations)} --watch --chest {chest}"


def _write_run(task: Address, rpc: str, store: str, confirmations: int) -> str:
    """Begin such a line; what in an RPC's URL may be a secret is left for them to fill in."""
    parts = [urlsplit(url) for url in rpc.split(",") if url]
    is_open = all(not (part.path.strip("/") or part.query or part.username or part.password) for part in parts)
    deep = f" --confirmations {confirmations}" if confirmations else ""
    return f"openflock node run --task {task} --rpc {rpc if is_open else 'YOUR_RPC_URL'} --store {store}{deep}"
