"""What does the protocol cost a round, with everything on and no model? Both ledgers, by phase.

Nodes commit and open ready-made contents, so that all the time is the ledger's, the replay's and the log's:
signing, the contract on the embedded EVM, reading events back, checking each against the specification, and
appending it durably to `events.jsonl`.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median

from eth_account import Account
from rich.console import Console
from rich.table import Table

from openflock.app.settings import TOKEN, Config, build_rules
from openflock.app.world import create_accounts, start_ledger
from openflock.edge.record import Recorder
from openflock.protocol.ballot import Mark, compute_ballot
from openflock.protocol.calls import Advance, Commit, Confirm, Fund, Join, Opening, Publish, Reveal
from openflock.protocol.commitment import compute_commitment, compute_content
from openflock.protocol.replay import Replica
from openflock.protocol.round import is_complete
from openflock.protocol.types import Act, Phase, State, commit_phase, open_phase

GOAL_SECONDS = 1.5
SALT = bytes(31) + b"\1"


def make_opening(state: State, act: Act, node: str) -> Opening:
    """Make a content that every honest node would agree on."""
    digest = bytes([state.round.number]) * 32
    match act:
        case Act.UPDATE:
            return Publish(node, digest, 1, SALT)
        case Act.BALLOT:
            return Reveal(node, compute_ballot([Mark(50)] * len(state.round.proposers)), SALT)
    return Confirm(node, digest, 0, veto=False, salt=SALT)


class Bench:
    """One task, driven as fast as it goes."""

    def __init__(self, ledger: str, nodes: int, rounds: int, directory: Path) -> None:
        config = Config(ledger=ledger, seed=nodes, rules={"rounds": rounds})
        accounts = create_accounts(config, nodes + 1)
        self.nodes = [account.address.lower() for account in accounts[1:]]
        self.keeper = accounts[0].address.lower()
        rules = build_rules(config, bytes(32), bytes(32), b"\1" * 32, 1, nodes)
        self.ledger, self.clock = start_ledger(config, rules, accounts)
        genesis = self.ledger.get_genesis()
        self.replica, self.recorder = Replica(genesis), Recorder(directory / f"{ledger}-{nodes}.jsonl", genesis)
        self.seconds: Counter[str] = Counter()
        self.make(Fund(self.keeper, 1_000 * TOKEN))
        for node in self.nodes:
            self.make(Join(node, 0, 100 * TOKEN))

    def make(self, call: object) -> None:
        """Make one call, and follow what came of it."""
        start, phase = time.perf_counter(), self.replica.state.phase
        self.ledger.submit(call)
        entries = self.ledger.read(self.replica.position)
        self.replica.apply(entries)
        self.recorder.append(entries)
        self.seconds[phase.name] += time.perf_counter() - start

    def play_round(self) -> tuple[float, dict[str, float]]:
        """Play one round; return its seconds, and those of each phase."""
        number, start = self.replica.state.round.number, time.perf_counter()
        self.seconds.clear()
        while self.replica.state.round.number == number and self.replica.state.phase != Phase.FINISHED:
            self.play_phase(self.replica.state)
        return time.perf_counter() - start, dict(self.seconds)

    def play_phase(self, state: State) -> None:
        """Let everybody act in a phase, then move on."""
        genesis = state.genesis
        for act in (Act.UPDATE, Act.BALLOT, Act.ATTESTATION):
            for node in self.nodes:
                opening = make_opening(state, act, node)
                if state.phase == commit_phase(act):
                    where = (genesis.chain, genesis.task, state.round.number, act, node)
                    self.make(Commit(node, act, compute_commitment(*where, compute_content(opening), SALT), 0))
                elif state.phase == open_phase(act):
                    self.make(opening)
        if state.phase == Phase.DRAW:
            for _ in range(genesis.rules.seed_delay + 1):
                self.clock.wait_until(0)
        elif not is_complete(self.replica.state):
            self.clock.wait_until(state.deadline + 1)
        self.make(Advance(self.keeper))


def measure(ledger: str, nodes: int, rounds: int) -> dict[str, object]:
    """Measure rounds on one ledger; the first, which pays for new storage, is left out of the median."""
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(ledger, nodes, rounds, Path(directory))
        played = [bench.play_round() for _ in range(rounds)][1:]
    phases = {name: median(each.get(name, 0.0) for _, each in played) for name in played[0][1]}
    return {"ledger": ledger, "nodes": nodes, "seconds": median(total for total, _ in played), "phases": phases}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write")
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes")
    args = parser.parse_args()
    Account.from_key(bytes(31) + b"\1")  # the first signature loads its library; it is nobody's round
    sizes, rounds = ((8,), 3) if args.quick else ((4, 8, 16), 6)
    results = [measure(ledger, nodes, rounds) for nodes in sizes for ledger in ("spec", "evm")]
    show(results)
    eight = next(each["seconds"] for each in results if each["ledger"] == "evm" and each["nodes"] == 8)
    goal = {"name": "protocol seconds a round, 8 nodes, embedded EVM", "value": eight, "goal": GOAL_SECONDS}
    goals = [{**goal, "met": eight <= GOAL_SECONDS}]
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"goals": goals, "results": results}, indent=2) + "\n")


def show(results: list[dict[str, object]]) -> None:
    """Print the table."""
    table = Table(title="Seconds a round (median; the first left out)", title_justify="left")
    for heading in ("ledger", "nodes", "round", *results[0]["phases"]):
        table.add_column(heading, justify="right")
    for each in results:
        shown = [f"{value:.2f}" for value in each["phases"].values()]
        table.add_row(str(each["ledger"]), str(each["nodes"]), f"{each['seconds']:.2f}", *shown)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
