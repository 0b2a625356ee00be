"""What happened in a round, gathered from the ledger's log as it goes by."""

from collections import Counter
from dataclasses import dataclass, field

from openflock.protocol.ballot import get_mark, get_sealed_score
from openflock.protocol.calls import Credited, Drawn, Event, Judged, Reveal, Settled, Slashed
from openflock.protocol.replay import Step
from openflock.protocol.types import NO_FLAGS, Address, Amount, Judgement, Outcome, Reason, State
from openflock.protocol.verdict import UNSCORED, compute_lower_median


@dataclass
class RoundStory:
    """One round so far; complete once it holds an outcome."""

    number: int
    proposers: tuple[Address, ...] = ()
    ballots: dict[Address, int] = field(default_factory=dict)
    sealed: dict[Address, int] = field(default_factory=dict)
    weights: dict[Address, int] = field(default_factory=dict)
    judgements: dict[int, Judgement] = field(default_factory=dict)
    paid: Counter[Address] = field(default_factory=Counter)
    slashed: Counter[Address] = field(default_factory=Counter)
    budget: Amount = 0
    outcome: Outcome | None = None
    digest: bytes = b""
    spent: Amount = 0

    def tell(self, step: Step) -> None:
        """Add one step of the log."""
        if isinstance(step.call, Reveal):
            self.ballots[step.call.sender], self.sealed[step.call.sender] = step.call.ballot, step.call.sealed
        for event in step.events:
            self._add(event)

    def _add(self, event: Event) -> None:
        match event:
            case Drawn():
                self.proposers, self.budget = event.proposers, event.budget
                self.weights = dict(zip(event.voters, event.voter_weights, strict=True))
            case Judged():
                self.judgements[event.slot] = Judgement(event.verdict, event.benefit)
            case Slashed():
                self.slashed[event.node] += event.amount
            case Credited() if event.reason in (Reason.PROPOSAL, Reason.VOTE, Reason.BOUNTY):
                self.paid[event.account] += event.amount
            case Settled():
                self.outcome, self.digest, self.spent = event.outcome, event.digest, event.spent

    def get_scores(self, state: State, slot: int) -> dict[int, int]:
        """Give the weighted lower median score of a slot by domain, over the ballots that scored it."""
        scores: dict[int, list[tuple[int, int]]] = {}
        for voter, ballot in self.ballots.items():
            mark = get_mark(ballot, slot)
            if voter != self.proposers[slot] and mark.flags == NO_FLAGS:
                scores.setdefault(state.nodes[voter].domain, []).append((mark.score, self.weights[voter]))
        return {domain: compute_lower_median(group) for domain, group in sorted(scores.items())}

    def get_sealed_score(self, slot: int) -> int | None:
        """Give the weighted lower median score of a slot on sealed rows; None where less than half has one."""
        voters = [
            voter
            for voter, ballot in self.ballots.items()
            if voter != self.proposers[slot] and not get_mark(ballot, slot).flags & UNSCORED
        ]
        scores = [(get_sealed_score(self.sealed[voter], slot), self.weights[voter]) for voter in voters]
        seen = [(score, weight) for score, weight in scores if score]
        opened = sum(self.weights[voter] for voter in self.ballots)
        return compute_lower_median(seen) if 2 * sum(weight for _, weight in seen) > opened else None
