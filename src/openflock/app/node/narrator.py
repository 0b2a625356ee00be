"""Tell a task's log in lines: what happened in each round, and what of it concerns one's own node."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openflock.app.tables import format_tokens
from openflock.node.daemon import Log
from openflock.protocol.calls import Credited, Drawn, Entered, Event, Judged, Sent, Settled, Slashed
from openflock.protocol.replay import Step
from openflock.protocol.types import Address, Fault, Phase

Line = tuple[str, dict[str, Any]]

MENDS = {
    Fault.NO_SHOW: "was the node offline, or slower than the phase? see its log before this line",
    Fault.HIDDEN_BALLOT: "the ballot was committed and not opened: keep the node running through reveal",
    Fault.UNAVAILABLE: "others could not fetch the update: can they reach the store?",
    Fault.INADMISSIBLE: "others found the update malformed: is this version the one that the others run?",
    Fault.BACKDOOR: "others found a backdoor in the update: look at the data",
    Fault.WRONG_DIGEST: "the merge came out otherwise than for all others: look at this machine's memory and disk",
}


@dataclass
class Narrator:
    """Tell what concerns everybody, and of the rest what concerns one node; not what happened before it came."""

    log: Log
    me: Address | None
    since: int  # time of the chain

    def tell(self, step: Step) -> None:
        """Tell one step."""
        for event in step.events if step.time >= self.since else ():
            for name, fields in describe(event, step, self.me):
                self.log.info(name, **fields)


def describe(event: Event, step: Step, me: Address | None) -> Iterator[Line]:
    """Say in a line what an event means, or nothing."""
    current = step.state.round
    match event:
        case Entered(number, phase, deadline):
            left = {"block": deadline} if phase == Phase.DRAW else {"left": max(0, deadline - step.time)}
            yield "entered", {"round": number, "phase": phase.name} | ({} if phase == Phase.FINISHED else left)
        case Drawn():
            seats = [name for name, drawn in (("proposer", event.proposers), ("voter", event.voters)) if me in drawn]
            role = {"me": " and ".join(seats) or "no seat"} if me else {}
            counts = {"proposers": len(event.proposers), "voters": len(event.voters)}
            yield "drawn", {"round": current.number, **counts, **role}
        case Judged(slot, verdict, _):
            judged = current if slot < len(current.proposers) else step.state.ended
            if judged is not None and slot < len(judged.proposers):
                proposer = judged.proposers[slot].node
                mine = {"mine": True} if proposer == me else {}
                yield "judged", {"round": judged.number, "proposer": proposer, "verdict": verdict.name, **mine}
        case Settled(number, outcome, digest, _):
            yield "settled", {"round": number, "outcome": outcome.name, "digest": digest}
        case Slashed(node, fault, amount) if node == me:
            yield "slashed", {"fault": fault.name, "tokens": format_tokens(amount), "mend": MENDS[fault]}
            if me not in step.state.members:
                yield "out", {"reason": explain_out(step, node)}
        case Credited(account, reason, amount) if account == me:
            yield "credited", {"reason": reason.name, "tokens": format_tokens(amount)}
        case Sent(account, amount) if account == me:
            yield "paid out", {"tokens": format_tokens(amount)}


def explain_out(step: Step, me: Address) -> str:
    """Say why a node is drawn no more, and what its owner can do."""
    least, node = step.state.genesis.rules.min_stake, step.state.nodes[me]
    return (
        f"the stake of {format_tokens(node.stake)} is under the task's minimum of {format_tokens(least)}: this node is"
        " drawn no more; raise it with openflock node top-up, or take it home with openflock node withdraw"
    )
