"""Audit a task while it runs: check each round's updates and its merge as it ends."""

from dataclasses import dataclass, field

from structlog.stdlib import BoundLogger

from openflock.audit import check_merge, check_updates
from openflock.node.reader import Reader
from openflock.protocol.calls import Settled
from openflock.protocol.replay import Step
from openflock.protocol.types import Digest, Genesis, Merged, Outcome


@dataclass
class Auditor:
    """Follow a task from its beginning, and check what happens from a time on."""

    genesis: Genesis
    reader: Reader
    log: BoundLogger
    since: int  # time of the chain
    built_on: Digest = field(init=False)
    earlier: tuple[Merged, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        """Begin with the initial state."""
        self.built_on = self.genesis.rules.genesis

    def follow(self, step: Step) -> None:
        """Check a round once it ends; raise AuditFailure at the first difference."""
        for event in step.events:
            if isinstance(event, Settled):
                if step.time >= self.since:
                    self.check(event, step)
                self.built_on, self.earlier = event.digest, step.state.merged

    def check(self, settled: Settled, step: Step) -> None:
        """Check one round's updates, and its merge."""
        ended = step.state.ended
        if ended is None:
            return
        count = check_updates(self.genesis, ended, self.built_on, self.reader)
        if settled.outcome == Outcome.MERGED:
            check_merge(self.genesis, ended, self.built_on, self.earlier, settled, self.reader)
        self.log.info("audited", round=settled.round, updates=count, digest=settled.digest)
