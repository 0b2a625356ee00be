"""The ground that a node stands on: chain, store, journal, data, base; all is looked at before anything is staked."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from eth_account.signers.local import LocalAccount
from web3 import Web3

from openflock.app.bases import find_base
from openflock.app.node import preflight
from openflock.app.node.settings import NodeConfig, load_node_config
from openflock.app.settings import SettingsError
from openflock.app.task.view import check_address, find_task, open_chain
from openflock.app.words import parse_tokens
from openflock.edge.evm_ledger import EvmLedger, WallClock, get_contract
from openflock.edge.journal import Journal
from openflock.edge.stores import Store, open_store
from openflock.edge.transactions import GWEI
from openflock.learn.data import Row, load_rows
from openflock.protocol.job import Job
from openflock.protocol.replay import Replica
from openflock.protocol.types import Address, Amount, State

PATIENCE = 15.0  # seconds that a call may take to be mined before other duties, or a stop, have their turn


@dataclass(frozen=True)
class Plan:
    """What the command was asked for."""

    task: str
    rpc: str
    store: str = ""
    data: Path | None = None
    directory: Path | None = None
    domain: str | None = None
    stake: str | None = None
    base: str | None = None
    config: Path | None = None
    confirmations: int = 0
    metrics_port: int | None = None
    chest: Path | None = None  # of who created the task, with the rows that it opens


@dataclass(frozen=True)
class Chain:
    """A task on its chain, as this process reaches it, and where it stood at the start."""

    web3: Web3
    ledger: EvmLedger
    clock: WallClock
    state: State


@dataclass(frozen=True)
class Ground:
    """All that a node stands on once its preflight found nothing lacking."""

    config: NodeConfig
    chain: Chain
    store: Store
    journal: Journal
    job: Job
    base: Path
    domain: int
    stake: Amount
    train: Sequence[Row]
    held_out: Sequence[Row]


def make_directory(plan: Plan, me: Address | None) -> Path:
    """Make the node's directory, for nobody else to read."""
    task = check_address(plan.task, "--task")  # before anything is named after it
    name = f"node-{task[2:10]}-{me[2:10] if me else 'watch'}"
    directory = plan.directory or Path(name)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)
    return directory


def open_task(
    plan: Plan, accounts: dict[Address, LocalAccount], journal: Journal | None, config: NodeConfig | None = None
) -> Chain:
    """Connect to the task and catch up with its log."""
    web3 = open_chain(plan.rpc)
    max_fee = int((config or NodeConfig()).max_fee * GWEI)
    task = find_task(web3, plan.task)
    ledger = EvmLedger(web3, task, accounts, None, plan.confirmations, journal, max_fee=max_fee, patience=PATIENCE)
    replica = Replica(ledger.get_genesis())
    for _ in replica.follow(ledger.read(0)):
        pass
    return Chain(web3, ledger, WallClock(web3), replica.state)


def survey(stack: ExitStack, plan: Plan, account: LocalAccount, directory: Path) -> Ground:
    """Look at everything that a node needs before it puts anything at stake; raise NotReady with all that lacks."""
    look, me = preflight.Survey(), account.address.lower()
    config = look.get(lambda: load_node_config(plan.config))
    journal = look.get(lambda: stack.enter_context(closing(Journal(directory / "journal.db"))))
    chain = look.get(lambda: open_task(plan, {me: account}, journal, config))
    store = look.get(lambda: stack.enter_context(closing(open_store(plan.store, directory / "cache"))))
    data = look.get(lambda: get_data(plan))
    rows = data and look.get(lambda: load_rows(data))
    split = data and rows and config and look.get(lambda: preflight.split_rows(rows, config.held_out, data))
    stake = look.get(lambda: choose_stake(plan.stake, chain))
    job = base = domain = None
    if chain:
        look.note(preflight.check_standing(chain.state, me))
        look.get(lambda: look.note(preflight.check_clock(chain.web3)))
        look.get(lambda: look.note(check_wallet(chain, me, stake or 0, config)))
    if chain and store:
        job = look.get(lambda: preflight.fetch_job(store, chain.state.genesis.rules))
    if chain and job:
        base = look.get(lambda: find_base(plan.base, job, chain.state.genesis.rules))
        domain = data and look.get(lambda: preflight.choose_domain(plan.domain, data, job))
    if chain and job and base and config:
        look.note(preflight.check_machine(base, job, config, directory, chain.state.genesis.rules))
    if look.problems or not (config and chain and store and journal and job and base and stake and split):
        raise preflight.NotReady(look.problems)
    return Ground(config, chain, store, journal, job, base, domain or 0, stake, *split)


def choose_stake(tokens: str | None, chain: Chain | None) -> Amount:
    """Read the stake that was asked for; else twice the least, so that no fee makes the node fall out."""
    if tokens is not None:
        return parse_tokens(tokens)
    return 2 * chain.state.genesis.rules.min_stake if chain else 0


def get_data(plan: Plan) -> Path:
    """Give the data's path: a file of this machine, since nobody else should learn which."""
    if plan.data is None:
        raise SettingsError("--data: name the file that holds this node's rows")
    if not plan.data.exists():
        raise SettingsError(f"--data {plan.data}: no such file; give a JSONL file with this node's rows")
    return plan.data


def check_wallet(chain: Chain, me: Address, stake: Amount, config: NodeConfig | None) -> Iterator[str]:
    """Look at the stake, and at what the wallet holds."""
    bond = chain.state.genesis.rules.witness_bond if config and config.probe else 0
    yield from preflight.check_stake(chain.state, me, stake)
    token = get_contract(chain.web3, "Token", chain.state.genesis.token)
    balance = token.functions.balanceOf(Web3.to_checksum_address(me)).call()
    yield from preflight.check_balances(chain.web3, chain.state, me, balance, stake, bond)
