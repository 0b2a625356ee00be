"""Take home what a node has in a task."""

from contextlib import ExitStack, closing

from eth_account.signers.local import LocalAccount
from structlog.stdlib import BoundLogger

from openflock.app.node_ground import Plan, make_directory, open_task
from openflock.app.node_run import build_daemon, catch_signals, start_log
from openflock.app.settings import SettingsError
from openflock.edge.journal import Journal
from openflock.node.daemon import Daemon
from openflock.node.duties import Withdrawer
from openflock.protocol.types import Address, State


def withdraw_stake(plan: Plan, account: LocalAccount, wait: bool) -> None:
    """Leave the task and take home what is owed and released; wait for what is not only if asked."""
    me = account.address.lower()
    directory = make_directory(plan, me)
    with ExitStack() as stack:
        log = start_log(stack, plan, directory / "node.log")
        stop = stack.enter_context(catch_signals(log))
        journal = stack.enter_context(closing(Journal(directory / "journal.db")))
        chain = open_task(plan, {me: account}, journal)
        if me not in chain.state.nodes and not chain.state.payable.get(me):
            raise SettingsError(f"{me} has nothing in task {plan.task}: nothing to withdraw")

        def over(state: State) -> bool:
            return not wait or (me not in state.nodes and not state.payable.get(me))

        daemon = build_daemon(chain, [Withdrawer(me)], log, stop, me, directory, over)
        daemon.run()
        report_withdrawal(daemon, me, log)


def report_withdrawal(daemon: Daemon, me: Address, log: BoundLogger) -> None:
    """Say what a withdrawal still waits for, and until when."""
    state = daemon.state
    node = state.nodes.get(me)
    if node is None:
        log.info("withdrawn")
    elif node.release:
        left = max(0, node.release - daemon.time)
        log.info("leaving", released=node.release, left=left, mend="run this again then, or now with --wait")
    else:
        log.info("waits", **daemon.describe(), mend="nodes leave while the task gathers; run this again with --wait")
