"""What every call of a task burns with a number of registered nodes.

The same task is played at every size. What a call burns depends on which storage is new, and so on what happened
before: calls of a round are told by the round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low

from openflock.protocol.ballot import Mark
from openflock.protocol.calls import Fund, Join
from openflock.protocol.types import Act, Flag

from ..protocol.helpers import CREATOR, STAKE, Play, make_address, play_round
from . import life
from .meter import Meter, Spent

PROPOSERS, VOTERS = 8, 16
SIZES = (16, 256, 4096)
LARGEST = 256  # members of which the largest committees are drawn

MONEY = "stake and money"
FIRST, LATER = "the first round: all agree", "a later round: all agree"
ROUNDS = {
    FIRST: life.play_agreed,
    LATER: life.play_agreed,
    "one update is inadmissible": life.play_inadmissible,
    "one voter is absent": life.play_no_show,
    "one update has a backdoor, which four show": life.play_backdoor,
    "nobody attests": life.play_silence,
    "an appeal convicts two": life.play_appeal,
}
# Calls that belong to no round. The first join is apart, since it makes the inner nodes of the tree.
MONEY_CALLS = ("fund", "first join", "join", "top_up", "leave", "withdraw", "resolve", "claim", "cancel")
# What a round with a fault changes in calls that every round has.
DECISIONS = ("advance from reveal", "advance from confirm", "advance from reattest", "advance from reconfirm")


@dataclass(frozen=True)
class Figure:
    """What one kind of call burned."""

    calls: int
    typical: int  # the median
    worst: int
    total: int


Chapter = dict[str, Figure]  # by call
Figures = dict[str, Chapter]


def measure(nodes: int) -> tuple[Meter, Figures]:
    """Play a task of so many nodes to its end; give it, and what its calls burned."""
    meter = Meter(proposer_seats=PROPOSERS, voter_seats=VOTERS, witnesses=4, rounds=8)
    life.fill(meter, life.make_nodes(nodes))
    chapters = {MONEY: split_joins(meter.take())}
    for title, play in ROUNDS.items():
        play(meter)
        chapters[title] = meter.take()
    life.empty(meter)
    chapters["the end"] = meter.take()
    return meter, summarise(arrange(chapters))


def split_joins(spent: Spent) -> Spent:
    first, *others = spent["join"]
    return spent | {"first join": [first], "join": others}


def arrange(chapters: Mapping[str, Spent]) -> dict[str, Spent]:
    """Gather the calls that belong to no round; of a round with a fault, keep what it changes."""
    arranged: dict[str, Spent] = {MONEY: {name: [] for name in MONEY_CALLS}}
    for title, spent in chapters.items():
        for name, gas in spent.items():
            if name in MONEY_CALLS:
                arranged[MONEY][name] += gas
            elif title in (FIRST, LATER) or name in DECISIONS or name not in chapters[LATER]:
                arranged.setdefault(title, {})[name] = gas
    return arranged


def summarise(chapters: Mapping[str, Spent]) -> Figures:
    return {
        title: {name: Figure(len(gas), median_low(gas), max(gas), sum(gas)) for name, gas in spent.items()}
        for title, spent in chapters.items()
    }


# --- The largest committees ----------------------------------------------------------------------------------


def measure_largest() -> Figures:
    """All that one call can be asked to do, whatever the number of members: 16 proposers and 32 voters, each apart."""
    plays = {
        "all agree": play_round,
        "sixteen backdoors, which 64 show": play_backdoors,
        "half publish, nobody attests": play_silence,
    }
    chapters = {}
    for title, play in plays.items():
        meter = Meter(proposer_seats=16, voter_seats=32, witnesses=4)
        meter.submit(Fund(CREATOR, 10**12))
        for node in life.make_nodes(LARGEST):
            meter.submit(Join(node, 0, STAKE))  # the minimum, so that whoever is slashed is no member any more
        meter.take()
        life.draw(meter, life.is_apart)
        play(meter)
        chapters[title] = meter.take()
    return summarise(chapters)


def play_backdoors(meter: Meter) -> None:
    proposers = [seat.node for seat in meter.state.round.proposers]
    accusations = {make_address(f"accuser {i}"): (proposers[i % 16], 100) for i in range(64)}
    play_round(meter, Play(mark=lambda voter, proposer: Mark(100, Flag.SUSPECT), witnesses=accusations))


def play_silence(meter: Meter) -> None:
    nodes = meter.state.nodes
    hiding = [seat.node for seat in meter.state.round.proposers[::2]]
    absent = dict.fromkeys((Act.ATTESTATION, Act.APPEAL), nodes)
    play_round(meter, Play(absent=absent, hiding={Act.UPDATE: hiding}))
