"""Build what a configuration describes: base, data, chain, store and nodes, wired into one network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from eth_account import Account
from eth_account.signers.local import LocalAccount

from openflock.app.bases import locate_base
from openflock.app.rows import Holdings, list_data_domains, load_split, seal_rows, share_rows
from openflock.app.rundir import RunDirectory
from openflock.app.settings import TOKEN, Config, SettingsError, build_recipe, build_rules
from openflock.arena.attacks.targeted import scale_delta
from openflock.arena.attacks.triggers import poison_rows
from openflock.arena.memory import MemoryJournal
from openflock.edge.blobs import DirectoryStore
from openflock.edge.deploy import create_task, deploy_factory, deploy_token
from openflock.edge.embedded_chain import EmbeddedChain
from openflock.edge.evm_ledger import EvmLedger
from openflock.edge.journal import Journal as FileJournal
from openflock.edge.spec_ledger import SpecLedger
from openflock.edge.wallet import derive_secret
from openflock.learn.base import compute_base_digest
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.model import Model, load_model
from openflock.learn.train import TrainSettings
from openflock.node.examiner import Examiner
from openflock.node.feedback import Feedback
from openflock.node.node import Identity, Node
from openflock.node.notebook import Notebook
from openflock.node.proposer import OnStep, Proposer
from openflock.node.reader import Reader
from openflock.node.searcher import Searcher
from openflock.node.unsealer import Unsealer
from openflock.node.voter import Voter
from openflock.node.watch import Watch, watch_nothing
from openflock.protocol.calls import Fund
from openflock.protocol.job import Job, encode_job
from openflock.protocol.ports import Clock, Journal, Ledger
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Digest, Genesis
from openflock.update.codec import stream_state
from openflock.update.fixed import initial_state

SPEC_GENESIS_TIME = 1_700_000_000
SECRET = b"simulated"  # of the creator; it hides nothing outside the simulation
GAS = 25_000_000  # what any one call may use on the embedded chain


@dataclass(frozen=True)
class World:
    """All that a simulation runs on."""

    config: Config
    domains: list[str]
    base: Path
    model: Model
    ledger: Ledger
    clock: Clock
    nodes: list[Node]
    holdings: list[Holdings]
    report_rows: dict[str, list[Row]]
    reader: Reader
    unsealer: Unsealer
    journal: FileJournal  # to be closed when the nodes have played
    creator: Address


# --- Chain ---------------------------------------------------------------------------------------------------


def create_accounts(config: Config, count: int) -> list[LocalAccount]:
    """Create throw-away accounts from the seed; they hold nothing outside the simulation."""
    keys = (sha256(f"simulated account {config.seed}/{index}".encode()).digest() for index in range(count))
    return [Account.from_key(key) for key in keys]


def start_ledger(config: Config, rules: Rules, accounts: Sequence[LocalAccount]) -> tuple[Ledger, Clock]:
    """Start the task on an embedded EVM, or on the specification itself; the first account is its creator."""
    seed = sha256(f"chain {config.seed}".encode()).digest()
    addresses = [account.address.lower() for account in accounts]
    if config.ledger == "spec":
        task = Genesis(1, "0x" + "11" * 20, "0x" + "22" * 20, addresses[0], SPEC_GENESIS_TIME, rules)
        spec = SpecLedger(task, seed)
        return spec, spec
    chain, creator = EmbeddedChain(addresses, seed), accounts[0]
    balances = dict.fromkeys(addresses[1:], 2 * config.stake * TOKEN) | {addresses[0]: config.pool * TOKEN}
    token = deploy_token(chain.web3, creator, balances, GAS)
    factory = deploy_factory(chain.web3, creator, GAS)
    task_address = create_task(chain.web3, creator, factory, token, rules, GAS)
    signers = dict(zip(addresses, accounts, strict=True))
    return EvmLedger(chain.web3, task_address, signers, GAS), chain


# --- The whole -----------------------------------------------------------------------------------------------


def build_world(config: Config, run: RunDirectory, watch: Watch, on_step: OnStep) -> World:
    """Build a world and fund its task; the same configuration builds the same world, to the bit."""
    domains = list_data_domains(config)
    shares = share_rows(config, domains)
    model = load_task_model(config)
    reader, chest = Reader(DirectoryStore(run.blobs)), DirectoryStore(run.chest, private=True)
    sealed = seal_rows(config, domains, chest, SECRET)
    rules = agree_rules(config, domains, len(shares), model, reader, sealed)
    accounts = create_accounts(config, len(shares) + 1)
    ledger, clock = start_ledger(config, rules, accounts)
    creator = accounts[0].address.lower()
    ledger.submit(Fund(creator, config.pool * TOKEN))
    journal = FileJournal(run.journal)
    nodes = build_nodes(Site(config, run, model, reader, journal, sealed, watch, on_step), accounts, shares)
    report = {domain: load_split(config, domain, "validation", config.rows.report) for domain in domains}
    unsealer = Unsealer(sealed, chest, reader.store)
    parts = (ledger, clock, nodes, shares, report, reader, unsealer, journal, creator)
    return World(config, domains, model.path, model, *parts)


def build_working_nodes(config: Config, run: RunDirectory) -> list[Node]:
    """Build the same nodes in a process that works for them; their journal belongs to the one that calls for them."""
    shares = share_rows(config, list_data_domains(config))
    accounts, reader = create_accounts(config, len(shares) + 1), Reader(DirectoryStore(run.blobs))
    model = load_task_model(config)
    sealed = seal_rows(config, list_data_domains(config), DirectoryStore(run.chest, private=True), SECRET)
    return build_nodes(Site(config, run, model, reader, MemoryJournal(), sealed), accounts, shares)


def load_task_model(config: Config) -> Model:
    """Load the base with the task's adapter."""
    torch.set_num_threads(config.threads)
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f"device: no {config.device} on this machine; set device=cpu")
    targets = config.targets[0] if config.targets == ["all-linear"] else tuple(config.targets)
    return load_model(locate_base(config.base), config.rank, config.alpha, config.device, targets, config.quantization)


def agree_rules(
    config: Config, domains: Sequence[str], nodes: int, model: Model, reader: Reader, sealed: Sequence[Digest] = ()
) -> Rules:
    """Store the job and the initial state, and bind them in the rules."""
    seed = compute_adapter_seed(config)
    job = Job(
        config.title,
        config.base,
        tuple(config.targets),
        config.rank,
        config.alpha,
        seed,
        tuple(domains),
        config.max_length,
        build_recipe(config),
        tuple(sealed),
    )
    genesis = reader.put_state(stream_state(initial_state(model.layout, seed, job.recipe)))
    base = compute_base_digest(model.path)
    return build_rules(config, base, reader.store.put(encode_job(job)), genesis, len(domains), nodes)


def compute_adapter_seed(config: Config) -> bytes:
    """Compute the seed that the initial A expands from."""
    return sha256(f"adapter {config.seed}".encode()).digest()


@dataclass(frozen=True)
class Site:
    """What the nodes of one process share."""

    config: Config
    run: RunDirectory
    model: Model
    reader: Reader
    journal: Journal
    sealed: Sequence[Digest] = ()
    watch: Watch = watch_nothing
    on_step: OnStep | None = None


def build_nodes(site: Site, accounts: Sequence[LocalAccount], shares: Sequence[Holdings]) -> list[Node]:
    """Build all nodes; the first account is the creator's."""
    return [build_node(site, account, share) for account, share in zip(accounts[1:], shares, strict=True)]


def build_node(site: Site, account: LocalAccount, holdings: Holdings) -> Node:
    """Build one node, honest or not."""
    config, run, watch = site.config, site.run, site.watch
    train = TrainSettings(**config.train.model_dump(), max_length=config.max_length, rank=holdings.rank)
    rows, tamper, attacker = holdings.train, None, holdings.attacker
    if attacker:
        rows = poison_rows(rows, attacker.trigger, attacker.answer, attacker.share, config.seed)
        tamper = scale_delta(attacker.scale)
    feedback = Feedback(run.feedback / account.address.lower())
    proposer = Proposer(rows, train, run.checkpoints, tamper, site.on_step, watch, feedback)
    evaluation = EvaluationSettings(max_length=config.max_length)
    notebook = None if attacker else Notebook(run.notebooks / f"{account.address.lower()}.json")
    voter = Voter(holdings.held_out, evaluation, config.shuffle, watch, notebook)
    searcher = Searcher(holdings.held_out, evaluation, watch=watch) if config.probe and not attacker else None
    identity = Identity(account.address.lower(), derive_secret(account), holdings.domain, config.stake * TOKEN)
    outbox = DirectoryStore(run.outbox, private=True)
    examiner = Examiner(site.sealed, evaluation, watch) if site.sealed else None
    parts = (site.reader, site.journal, outbox, proposer, voter)
    return Node(identity, site.model, *parts, searcher=searcher, examiner=examiner)


def list_roles(world: World) -> Mapping[Address, str]:
    """Name each node by domain and number, as a report shows it."""
    counts: dict[int, int] = {}
    roles = {}
    for node, holdings in zip(world.nodes, world.holdings, strict=True):
        counts[holdings.domain] = counts.get(holdings.domain, 0) + 1
        name = f"{world.domains[holdings.domain]}-{counts[holdings.domain]}"
        roles[node.identity.address] = f"{name} (attacker)" if holdings.attacker else name
    return roles
