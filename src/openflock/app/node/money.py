"""Move one's money between a wallet and a task: raise a stake, or take home what one has there."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from eth_account.signers.local import LocalAccount
from structlog.stdlib import BoundLogger

from openflock.app.node.ground import Chain, Plan, make_directory, open_task
from openflock.app.node.run import build_daemon, catch_signals, start_log
from openflock.app.node.status import Status
from openflock.app.settings import SettingsError
from openflock.app.tables import format_tokens
from openflock.app.words import parse_tokens
from openflock.edge.journal import Journal
from openflock.node.daemon import Daemon
from openflock.node.duties import Duty, Keeper, Withdrawer
from openflock.protocol.calls import TopUp
from openflock.protocol.replay import Step
from openflock.protocol.types import Address, Amount, Phase, State

Start = Callable[[Duty, Callable[[State], bool]], Daemon]


@contextmanager
def opening(plan: Plan, account: LocalAccount) -> Iterator[tuple[Chain, BoundLogger, Start]]:
    """Open an account's place in a task, and give what starts a daemon with a duty there."""
    me = account.address.lower()
    directory = make_directory(plan, me)
    with ExitStack() as stack:
        log = start_log(stack, plan, directory / "node.log")
        stop = stack.enter_context(catch_signals(log))
        journal = stack.enter_context(closing(Journal(directory / "journal.db")))
        chain = open_task(plan, {me: account}, journal)

        def start(duty: Duty, is_over: Callable[[State], bool]) -> Daemon:
            # The second, since the others may have stopped, too: nobody leaves before the round ends.
            duties: list[Duty] = [duty, Keeper(me, chain.clock)]
            daemon = build_daemon(chain, duties, log, stop, Status(me, directory))
            daemon.is_over = is_over
            return daemon

        yield chain, log, start


# --- Take it home --------------------------------------------------------------------------------------------


def withdraw_stake(plan: Plan, account: LocalAccount, wait: bool) -> None:
    """Leave the task and take home what is owed and released; wait for what is not only if asked."""
    me = account.address.lower()
    with opening(plan, account) as (chain, log, start):
        if me not in chain.state.nodes and not chain.state.payable.get(me):
            raise SettingsError(f"{me} has nothing in task {chain.state.genesis.task}: nothing to withdraw")

        def is_over(state: State) -> bool:
            return not wait or (me not in state.nodes and not state.payable.get(me))

        daemon = start(Withdrawer(me), is_over)
        if wait:
            report_withdrawal(daemon, me, log)
        daemon.run()
        report_withdrawal(daemon, me, log)


def report_withdrawal(daemon: Daemon, me: Address, log: BoundLogger) -> None:
    """Say what a withdrawal still waits for, and until when."""
    state = daemon.state
    node = state.nodes.get(me)
    if node is None:
        log.info("withdrawn", node=me)
    elif node.release:
        left = max(0, node.release - daemon.time)
        log.info("leaving", released=node.release, left=left, mend="run this again then, or now with --wait")
    else:
        log.info("waits", **daemon.describe(), mend="nodes leave while the task gathers; run this again with --wait")


# --- Raise a stake -------------------------------------------------------------------------------------------


@dataclass
class Raiser:
    """Add to a stake, once."""

    me: Address
    amount: Amount
    done: bool = False

    def __call__(self, state: State, now: int) -> TopUp | None:  # noqa: ARG002  # a Duty
        """Say whether to add now: stake rises only while the task gathers."""
        return None if self.done or state.phase != Phase.GATHER else TopUp(self.me, self.amount)

    def follow(self, step: Step) -> None:
        """See in the log that it is done."""
        self.done |= step.call == TopUp(self.me, self.amount)


def raise_stake(plan: Plan, account: LocalAccount, tokens: str) -> None:
    """Add to a stake, as soon as the task gathers."""
    raiser = Raiser(account.address.lower(), parse_tokens(tokens))
    with opening(plan, account) as (chain, log, start):
        node = chain.state.nodes.get(raiser.me)
        if node is None or node.release:
            raise SettingsError(f"{raiser.me} has no stake in this task that could be raised; join with node run")
        daemon = start(raiser, lambda state: raiser.done or state.phase == Phase.FINISHED)
        now, follow = daemon.time, daemon.on_step

        def on_step(step: Step) -> None:
            follow(step)
            if step.time >= now:
                raiser.follow(step)

        daemon.on_step = on_step
        if chain.state.phase != Phase.GATHER:
            log.info("waits", **daemon.describe(), mend="stake rises while the task gathers; leave this running")
        daemon.run()
        if raiser.done:
            log.info("raised", stake=format_tokens(daemon.state.nodes[raiser.me].stake))
