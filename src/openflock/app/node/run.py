"""Run a node in a process of its own: stand it on its ground, and let its daemon run."""

import os
import shutil
import signal
import time as wall
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event
from types import FrameType
from typing import TYPE_CHECKING

from eth_account.signers.local import LocalAccount
from structlog.stdlib import BoundLogger
from web3 import Web3

from openflock.app.node import preflight
from openflock.app.node.auditor import Auditor
from openflock.app.node.ground import Chain, Ground, Plan, make_directory, open_task, survey
from openflock.app.node.logs import close_log, list_secrets, open_log
from openflock.app.node.metrics import Counted, Metrics, serving
from openflock.app.node.narrator import Narrator
from openflock.app.node.status import Status
from openflock.app.settings import SettingsError
from openflock.audit import AuditFailure
from openflock.edge.blobs import DirectoryStore, StoreError
from openflock.edge.evm_ledger import BadLog, Reorganised
from openflock.edge.stores import open_store
from openflock.edge.wallet import derive_secret
from openflock.node.daemon import Daemon
from openflock.node.duties import Duty, Keeper, Player, settle_up
from openflock.node.node import Identity, Node
from openflock.node.pace import Pace, Stopped
from openflock.node.reader import Reader
from openflock.node.timely import Timely
from openflock.protocol.calls import Call, Settled
from openflock.protocol.ports import BlobCorrupt, BlobMissing, BlobStore, Unreachable
from openflock.protocol.replay import Divergence, Step
from openflock.protocol.rules import compute_phase_times
from openflock.protocol.types import Address, Phase, State

if TYPE_CHECKING:
    from openflock.learn.model import Model

OnStep = Callable[[Step], None]

PROGRESS = 10.0  # seconds between two lines about training
GRACE = 3.0  # seconds in which a node that is told to stop ends by itself


# --- Run -----------------------------------------------------------------------------------------------------


def run_node(plan: Plan, account: LocalAccount) -> None:
    """Run a node until its task is over or somebody stops it."""
    me = account.address.lower()
    directory = make_directory(plan, me)
    with ExitStack() as stack:
        log = start_log(stack, plan, directory / "node.log")
        stop = stack.enter_context(catch_signals(log))
        ground = survey(stack, plan, account, directory)
        log.info("starts", node=me, task=plan.task, directory=str(directory), pid=os.getpid())
        pace = Pace(stop)
        counted = Counted(ground.store)
        timely = Timely(counted, pace)
        node = build_node(ground, account, directory, pace, log, timely)
        openings = preflight.list_openings(plan.chest, ground.job, ground.store)
        # First, since a voter must not wait for what it is to open itself; and last, so that a failure is told.
        duties: list[Duty] = [
            *map(quietly, openings),
            Player(node, partial(ground.chain.ledger.read, 0), pace, timely.expect),
            Keeper(me, ground.chain.clock),
            settle_up(me),
            *openings,
        ]
        chain_time = ground.chain.clock.get_time()
        status = Status(me, directory, purse=partial(read_purse, ground.chain, me))
        daemon = build_daemon(ground.chain, duties, log, stop, status, [Housekeeper(directory, chain_time).tidy])
        daemon.interval = ground.config.interval or daemon.interval
        if plan.metrics_port is not None:
            stack.enter_context(serving(Metrics(daemon, status, counted), plan.metrics_port))
        domain = ground.job.domains[ground.domain]
        log.info("ready", domain=domain, train=len(ground.train), held_out=len(ground.held_out))
        daemon.run()
        say_goodbye(daemon, me, log)


def watch_task(plan: Plan) -> None:
    """Follow a task without stake or wallet: check every event, and from now on every update and merge.

    Who opens sealed rows does that instead, since an audit that fails would end it.
    """
    directory = make_directory(plan, None)
    with ExitStack() as stack:
        log = start_log(stack, plan, directory / "node.log")
        stop = stack.enter_context(catch_signals(log))
        chain = open_task(plan, {}, None)
        opened = stack.enter_context(closing(open_store(plan.store, directory / "cache")))
        store = Counted(opened)
        status, auditor = (
            Status(None, directory),
            Auditor(chain.state.genesis, Reader(store), log, chain.clock.get_time()),
        )
        rules = chain.state.genesis.rules
        duties = preflight.list_openings(plan.chest, preflight.fetch_job(store, rules), opened) if plan.chest else []
        daemon = build_daemon(chain, duties, log, stop, status, [] if duties else [auditor.follow])
        daemon.fatal += (AuditFailure,)
        if plan.metrics_port is not None:
            stack.enter_context(serving(Metrics(daemon, status, store), plan.metrics_port))
        log.info("watches", **daemon.describe())
        daemon.run()
        say_goodbye(daemon, None, log)


def quietly(duty: Duty) -> Duty:
    """Ask a duty of the store, and let the next ones have their turn if it fails."""

    def ask(state: State, now: int) -> Call | None:
        with suppress(BlobMissing, BlobCorrupt, Unreachable, StoreError, OSError):
            return duty(state, now)
        return None

    return ask


def build_daemon(
    chain: Chain, duties: Sequence[Duty], log: BoundLogger, stop: Event, status: Status, others: Sequence[OnStep] = ()
) -> Daemon:
    """Build a daemon that tells what happens from now on, and writes its status down."""
    narrator = Narrator(log, status.me, chain.clock.get_time())

    def on_step(step: Step) -> None:
        for follow in (status.follow, narrator.tell, *others):
            follow(step)

    return Daemon(
        chain.ledger, chain.clock, duties, log, is_over, on_step, status.write, stop, (Divergence, BadLog, Reorganised)
    )


def is_over(state: State) -> bool:
    """Answer whether a daemon has nothing left to stay for; its duties come first."""
    return state.phase == Phase.FINISHED


def read_purse(chain: Chain, me: Address) -> float:
    """Read what an account has of the chain's own coin."""
    return chain.web3.eth.get_balance(Web3.to_checksum_address(me)) / 10**18


def say_goodbye(daemon: Daemon, me: Address | None, log: BoundLogger) -> None:
    """Say where the node leaves things, and what is left to do."""
    state = daemon.state
    node = state.nodes.get(me or "")
    if state.phase != Phase.FINISHED:
        fees = "; an absent node pays fees" if node else ""
        log.info("stopped", **daemon.describe(), mend=f"run the same command again to go on{fees}")
    elif node is not None:
        log.info("finished", digest=state.digest, released=node.release, mend="then run openflock node withdraw")
    else:
        log.info("finished", digest=state.digest)


# --- Its parts -----------------------------------------------------------------------------------------------


def start_log(stack: ExitStack, plan: Plan, file: Path | None) -> BoundLogger:
    """Start the log, and end it with the process."""
    stack.callback(close_log)
    return open_log(file, list_secrets(plan.rpc.split(",")))


@contextmanager
def catch_signals(log: BoundLogger) -> Iterator[Event]:
    """Turn SIGTERM and SIGINT into an event, which is looked at between two acts and two steps of training.

    What does not look within GRACE seconds (a chain that hangs, a long batch) is broken off. That is safe anywhere:
    a node is made to be killed at any instant, and goes on from what is on its disk.
    """
    stop = Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGALRM:
            raise Stopped
        stop.set()
        signal.setitimer(signal.ITIMER_REAL, GRACE, GRACE)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}
    try:
        yield stop
    except Stopped:
        log.info("stopped", mend="run the same command again to go on")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def build_node(
    ground: Ground, account: LocalAccount, directory: Path, pace: Pace, log: BoundLogger, store: BlobStore
) -> Node:
    """Load the model, compare it with the task's initial state, and build the node."""
    import torch

    from openflock.learn.evaluate import EvaluationSettings
    from openflock.learn.model import load_model
    from openflock.learn.train import TrainSettings
    from openflock.node.examiner import Examiner
    from openflock.node.feedback import Feedback
    from openflock.node.notebook import Notebook
    from openflock.node.proposer import Proposer
    from openflock.node.searcher import Searcher
    from openflock.node.voter import Voter

    config, job = ground.config, ground.job
    torch.set_num_threads(config.threads)
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f'device: no {config.device} on this machine; set device = "cpu" in --config')
    targets = job.targets[0] if job.targets == ("all-linear",) else job.targets
    model = load_model(ground.base, job.rank, job.alpha, config.device, targets, config.quantization)
    outbox = DirectoryStore(directory / "outbox", private=True)
    reader = Reader(store, outbox)
    serve_initial_state(ground, model, reader)
    train = TrainSettings(**config.train.model_dump(), max_length=job.max_length, rank=config.rank)
    on_step = Progress(pace, log, train.steps)
    feedback = Feedback(directory / "feedback")
    proposer = Proposer(ground.train, train, directory / "checkpoints", None, on_step, pace.watch, feedback)
    evaluation = EvaluationSettings(max_length=job.max_length)
    notebook = Notebook(directory / "notebook.json")
    voter = Voter(ground.held_out, evaluation, watch=pace.watch, notebook=notebook)
    searcher = Searcher(ground.held_out, evaluation, watch=pace.watch) if config.probe else None
    identity = Identity(account.address.lower(), derive_secret(account), ground.domain, ground.stake)
    examiner = Examiner(job.sealed, evaluation, watch=pace.watch) if job.sealed else None
    parts = (reader, ground.journal, outbox, proposer, voter)
    return Node(identity, model, *parts, searcher=searcher, examiner=examiner)


def serve_initial_state(ground: Ground, model: "Model", reader: Reader) -> None:
    """Compare the initial state with the rules, and store it if it cannot be fetched: anyone can compute it.

    Before that, look whether this task's updates and this node's rows can be what they must.
    """
    from openflock.update.codec import get_digest, max_state_size, max_update_size, stream_state
    from openflock.update.fixed import initial_state

    rules = ground.chain.state.genesis.rules
    first = initial_state(model.layout, ground.job.seed, ground.job.recipe)
    look = preflight.Survey()
    look.note(preflight.check_initial_state(get_digest(first), rules))
    look.note(preflight.check_updates(max_update_size(first), ground.config.rank, ground.job, rules))
    look.note(preflight.check_rows(model.tokenizer, [*ground.held_out, *ground.train], ground.job.max_length))
    look.conclude()
    reader.largest = max_state_size(first, rules.rounds, rules.proposer_seats)
    try:
        reader.fetch_state(rules.genesis)
    except (BlobMissing, BlobCorrupt):
        reader.put_state(stream_state(first))


@dataclass(frozen=True)
class Housekeeper:
    """Remove, round after round, what a node kept for rounds that are over."""

    directory: Path
    since: int  # time of the chain; what was before is history

    def tidy(self, step: Step) -> None:
        """Look once a round; what is older than two of them was opened, or will never be."""
        if step.time >= self.since and any(isinstance(event, Settled) for event in step.events):
            age = 2 * sum(compute_phase_times(step.state.genesis.rules))
            DirectoryStore(self.directory / "outbox", private=True).collect((), age)
            for left in self.directory.glob("checkpoints/*"):
                if wall.time() - left.stat().st_mtime > age:
                    shutil.rmtree(left)


@dataclass
class Progress:
    """Say now and then how far training is, and whether anybody still wants it."""

    pace: Pace
    log: BoundLogger
    steps: int
    _next: float = 0.0

    def __call__(self, done: int, loss: float) -> None:
        """Take note of a step."""
        self.pace.check()
        now = wall.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS
            self.log.info("trains", step=f"{done}/{self.steps}", loss=round(loss, 4), left=round(self.pace.until - now))
