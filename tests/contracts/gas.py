"""What each call burns; `python -m tests.contracts.gas` prints a table.

A Pair whose every call counts as a transaction of its own: storage starts cold, and refunds and calldata count.
Two rounds are played, since a first round fills storage that later rounds only overwrite.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence

from openflock.protocol.ballot import Mark
from openflock.protocol.calls import Advance, Call, Commit, Fund, Join
from openflock.protocol.types import Act, Address, Flag, Phase

from ..protocol.helpers import CREATOR, STAKE, Play, make_address, make_genesis, play_round
from .chain import Log
from .pair import Pair, get_function

INTRINSIC = 21_000
PHASES = ("propose", "publish", "probe", "expose", "vote", "reveal", "attest", "confirm")
NODES = tuple(make_address(f"node {i}") for i in range(256))


class Meter(Pair):
    """A Pair that weighs its calls."""

    def __init__(self, **overrides: int | bytes) -> None:
        self.spent: dict[str, list[int]] = defaultdict(list)
        super().__init__(make_genesis(**dict.fromkeys(PHASES, 1000), unbonding=100_000, **overrides))

    def _call_contract(self, call: Call) -> tuple[tuple[Log, ...], str | None]:
        state = self.chain.env.evm.vm.state
        state.lock_changes()
        state._account_db._reset_access_counters()
        name = self._name(call)
        logs, refusal = super()._call_contract(call)
        if refusal is None:
            self.spent[name].append(self._weigh(call))
        return logs, refusal

    def _weigh(self, call: Call) -> int:
        _, *values = vars(call).values()
        data = self.task.encode(get_function(call), *values)
        used = INTRINSIC + sum(16 if byte else 4 for byte in data) + self.task.gas
        return used - min(self.task.refund, used // 5)

    def _name(self, call: Call) -> str:
        if isinstance(call, Commit):
            return f"commit {call.act.name.lower()}"
        if isinstance(call, Advance):
            return f"advance from {self.state.phase.name.lower()}"
        return get_function(call)


def make_meter(nodes: Sequence[Address], **overrides: int | bytes) -> Meter:
    """A funded task that the nodes joined, of all domains."""
    meter = Meter(**overrides)
    meter.submit(Fund(CREATOR, 10**12))
    for position, node in enumerate(nodes):
        meter.submit(Join(node, position % meter.get_genesis().rules.domains, STAKE))
    return meter


def print_table(title: str, spent: dict[str, list[int]]) -> None:
    """Print what each call burned: how often, the mean, the most."""
    print(f"\n{title}\n  {'call':<24}{'n':>5}{'mean':>12}{'most':>12}")
    for name, gas in spent.items():
        print(f"  {name:<24}{len(gas):>5}{sum(gas) // len(gas):>12,}{max(gas):>12,}")
    print(f"  {'all':<24}{sum(map(len, spent.values())):>5}{'':>12}{sum(map(sum, spent.values())):>12,}")


def measure_round(nodes: int, proposers: int, voters: int) -> None:
    """A round in which all agree, after another."""
    meter = make_meter(NODES[:nodes], proposer_seats=proposers, voter_seats=voters)
    print_table(f"joining: {nodes} nodes", meter.spent)
    for title in ("first round", "second round"):
        meter.spent.clear()
        play_round(meter)
        print_table(f"{title}: {nodes} nodes, {proposers} proposer and {voters} voter seats", meter.spent)


def measure_worst() -> int:
    """Every seat its own node, every proposal a backdoor with four accusers: all that one call can be asked to do."""
    meter = make_meter(NODES, proposer_seats=16, voter_seats=32, witnesses=4, gather=1000)
    play_round(meter, until=Phase.PROPOSE)
    proposers = [seat.node for seat in meter.state.round.proposers]
    accusers = {make_address(f"accuser {i}"): (proposers[i % len(proposers)], 100) for i in range(4 * len(proposers))}
    bad = Play(mark=lambda voter, proposer: Mark(100, Flag.SUSPECT), witnesses=accusers)
    play_round(meter, bad)
    voters = len(meter.state.ended.voters)
    print_table(f"{len(proposers)} backdoors, {voters} voters, {len(accusers)} accusers", meter.spent)
    return max(map(max, meter.spent.values()))


def measure_silence() -> int:
    """All are drawn and attest nothing: every seat is charged."""
    meter = make_meter(NODES, proposer_seats=16, voter_seats=32, gather=1000)
    play_round(meter, Play(absent={Act.ATTESTATION: NODES, Act.APPEAL: NODES}, hiding={Act.UPDATE: NODES[::2]}))
    print_table("nobody attests, half publish", meter.spent)
    return max(map(max, meter.spent.values()))


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measure_round(16, 8, 16)
        measure_round(256, 8, 16)
        measure_worst()
        measure_silence()
