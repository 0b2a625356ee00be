"""Run a node in a process of its own: stand it on its ground, and let its daemon run."""

import os
import signal
import time as wall
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

from eth_account.signers.local import LocalAccount
from structlog.stdlib import BoundLogger

from openflock.app import preflight
from openflock.app.logs import close_log, list_secrets, open_log
from openflock.app.narrator import Narrator
from openflock.app.node_ground import Chain, Ground, Plan, make_directory, open_task, survey
from openflock.app.settings import SettingsError
from openflock.app.status import Status
from openflock.node.daemon import Daemon
from openflock.node.duties import Duty, Keeper, Pace, Player, settle_up
from openflock.node.node import Identity, Node
from openflock.node.reader import Reader
from openflock.protocol.ports import BlobCorrupt, BlobMissing
from openflock.protocol.types import Address, Phase, State

PROGRESS = 10.0  # seconds between two lines about training


# --- Run -----------------------------------------------------------------------------------------------------


def run_node(plan: Plan, account: LocalAccount) -> None:
    """Run a node until its task is over or somebody stops it."""
    me = account.address.lower()
    directory = make_directory(plan, me)
    with ExitStack() as stack:
        log = start_log(stack, plan, directory / "node.log")
        stop = stack.enter_context(catch_signals(log))
        log.info("starts", node=me, task=plan.task, directory=str(directory), pid=os.getpid())
        ground = survey(stack, plan, account, directory)
        pace = Pace(stop)
        node = build_node(ground, account, directory, pace, log)
        duties: list[Duty] = [
            Player(node, partial(ground.chain.ledger.read, 0), pace),
            Keeper(me, ground.chain.clock),
            settle_up(me),
        ]
        daemon = build_daemon(ground.chain, duties, log, stop, me, directory, is_over)
        daemon.interval = ground.config.interval or daemon.interval
        log.info(
            "ready", domain=ground.job.domains[ground.domain], train=len(ground.train), held_out=len(ground.held_out)
        )
        daemon.run()
        say_goodbye(daemon, me, log)


def is_over(state: State) -> bool:
    """Answer whether a daemon has nothing left to stay for; its duties come first."""
    return state.phase == Phase.FINISHED


def build_daemon(
    chain: Chain,
    duties: Sequence[Duty],
    log: BoundLogger,
    stop: Event,
    me: Address | None,
    directory: Path,
    over: Callable[[State], bool],
) -> Daemon:
    """Build a daemon that tells what happens and writes its status down."""
    status, narrator = Status(me, directory), Narrator(log, me, chain.clock.get_time())

    def on_step(step: Any) -> None:
        status.follow(step)
        narrator.tell(step)

    return Daemon(chain.ledger, chain.clock, duties, log, over, on_step, status.write, stop)


def say_goodbye(daemon: Daemon, me: Address, log: BoundLogger) -> None:
    """Say where the node leaves things, and what is left to do."""
    state = daemon.state
    node = state.nodes.get(me)
    if state.phase != Phase.FINISHED:
        log.info("stopped", **daemon.describe(), mend="run the same command again to go on; an absent node pays fees")
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
    """Turn the first SIGTERM or SIGINT into an event, which is looked at between two acts; the second ends at once."""
    stop = Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        log.info("stops", signal=signal.Signals(number).name)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def build_node(ground: Ground, account: LocalAccount, directory: Path, pace: Pace, log: BoundLogger) -> Node:
    """Load the model, compare it with the task's initial state, and build the node."""
    import torch

    from openflock.edge.blobs import DirectoryStore
    from openflock.learn.evaluate import EvaluationSettings
    from openflock.learn.model import load_model
    from openflock.learn.train import TrainSettings
    from openflock.node.feedback import Feedback
    from openflock.node.proposer import Proposer
    from openflock.node.voter import Voter

    config, job = ground.config, ground.job
    torch.set_num_threads(config.threads)
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        raise SettingsError(f'device: no {config.device} on this machine; set device = "cpu" in --config')
    targets = job.targets[0] if job.targets == ("all-linear",) else job.targets
    model = load_model(ground.base, job.rank, job.alpha, config.device, targets, config.quantization)
    reader = Reader(ground.store)
    serve_initial_state(ground, model.layout, reader)
    train = TrainSettings(**config.train.model_dump(), max_length=job.max_length, rank=config.rank)
    on_step = Progress(pace, log, train.steps)
    feedback = Feedback(directory / "feedback")
    proposer = Proposer(ground.train, train, directory / "checkpoints", None, on_step, pace.watch, feedback)
    voter = Voter(ground.held_out, EvaluationSettings(max_length=job.max_length), watch=pace.watch)
    identity = Identity(account.address.lower(), derive_secret(account), ground.domain, ground.stake)
    outbox = DirectoryStore(directory / "outbox", private=True)
    return Node(identity, model, reader, ground.journal, outbox, proposer, voter)


def derive_secret(account: LocalAccount) -> bytes:
    """Derive what salts follow from; it changes with the key alone, so a lost directory loses no salt."""
    return sha256(b"salts" + account.key).digest()


def serve_initial_state(ground: Ground, layout: Any, reader: Reader) -> None:
    """Compare the initial state with the rules, and store it if it cannot be fetched: anyone can compute it."""
    from openflock.update.codec import get_digest, stream_state
    from openflock.update.fixed import initial_state

    rules = ground.chain.state.genesis.rules
    first = initial_state(layout, ground.job.seed, ground.job.recipe)
    look = preflight.Survey()
    look.note(preflight.check_initial_state(get_digest(first), rules))
    look.conclude()
    try:
        reader.fetch_state(rules.genesis)
    except (BlobMissing, BlobCorrupt):
        reader.put_state(stream_state(first))


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


# --- Without playing -----------------------------------------------------------------------------------------


def watch_task(plan: Plan) -> None:
    """Follow a task without stake or wallet, checking every event."""
    directory = make_directory(plan, None)
    with ExitStack() as stack:
        log = start_log(stack, plan, directory / "node.log")
        stop = stack.enter_context(catch_signals(log))
        chain = open_task(plan, {}, None)
        daemon = build_daemon(chain, [], log, stop, None, directory, is_over)
        log.info("watches", **daemon.describe())
        daemon.run()
