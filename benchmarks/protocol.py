"""What does the protocol cost a round, with everything on and no model? Both ledgers, by phase.

Nodes commit and open ready-made contents, so that all the time is the ledger's, the replay's and the log's:
signing, the contract on the embedded EVM, reading events back, checking each against the specification, and
appending it durably to `events.jsonl`. One more round, under a profiler, says which part of that takes how much.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from cProfile import Profile
from dataclasses import dataclass
from pathlib import Path
from pstats import Stats
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

from _harness import Goal, finish, parse_arguments, show_table
from eth_account import Account

from openflock.app.settings import TOKEN, Config, build_rules
from openflock.app.world import create_accounts, start_ledger
from openflock.edge.record import Recorder
from openflock.protocol.ballot import Mark, compute_ballot
from openflock.protocol.calls import Advance, Call, Commit, Confirm, Fund, Join, Opening, Publish, Reveal
from openflock.protocol.commitment import compute_commitment, compute_content
from openflock.protocol.replay import Replica
from openflock.protocol.round import is_complete
from openflock.protocol.types import Act, Phase, State, commit_phase, open_phase

LedgerKind = Literal["spec", "evm"]
GOAL_SECONDS = 1.5
SALT = bytes(31) + b"\1"
# Functions, by the end of their file's path and their name.
RUN = ("eth/vm/computation.py", "apply_computation")
STORE = ("eth/vm/state.py", "persist")
RECOVER = ("eth/_utils/transactions.py", "extract_transaction_sender")
ANSWER = ("openflock/edge/embedded_chain.py", "make_request")
REQUEST = ("web3/manager.py", "request_blocking")
# A part is its first function with all that it calls, less the others, which are parts of their own.
PARTS = {
    "contract on the EVM": (RUN,),
    "state tries": (STORE,),
    "recovering signers": (RECOVER,),
    "the chain's blocks and answers": (ANSWER, RUN, STORE, RECOVER),
    "formatting requests": (REQUEST, ANSWER),
    "signing": (("eth_account/account.py", "sign_transaction"),),
    "decoding the log": (("openflock/edge/evm_ledger.py", "_decode"),),
    "replay": (("openflock/protocol/replay.py", "apply"),),
    "record": (("openflock/edge/record.py", "append"),),
}
REST = "the rest"


@dataclass(frozen=True)
class Played:
    """One round: seconds, processor seconds, and the seconds of each phase."""

    seconds: float
    cpu_seconds: float
    phases: dict[str, float]


def make_opening(state: State, act: Act, node: str) -> Opening:
    """Make a content that every honest node would agree on."""
    digest = bytes([state.round.number]) * 32
    match act:
        case Act.UPDATE:
            return Publish(node, digest, 1, SALT)
        case Act.BALLOT:
            return Reveal(node, compute_ballot([Mark(50)] * len(state.round.proposers)), 0, SALT)
    return Confirm(node, digest, 0, veto=False, salt=SALT)


class Bench:
    """One task, driven as fast as it goes."""

    def __init__(self, ledger: LedgerKind, nodes: int, rounds: int, directory: Path) -> None:
        config = Config(ledger=ledger, seed=nodes, rules={"rounds": rounds})
        accounts = create_accounts(config, nodes + 1)
        self.nodes = [account.address.lower() for account in accounts[1:]]
        self.keeper = accounts[0].address.lower()
        rules = build_rules(config, bytes(32), bytes(32), b"\1" * 32, 1, nodes)
        self.ledger, self.clock = start_ledger(config, rules, accounts)
        genesis = self.ledger.get_genesis()
        self.replica, self.recorder = Replica(genesis), Recorder(directory / f"{ledger}-{nodes}.jsonl", genesis)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.make(Fund(self.keeper, 1_000 * TOKEN))
        for node in self.nodes:
            self.make(Join(node, 0, 100 * TOKEN))

    def make(self, call: Call) -> None:
        """Make one call, and follow what came of it."""
        start, phase = time.perf_counter(), self.replica.state.phase
        self.ledger.submit(call)
        entries = self.ledger.read(self.replica.position)
        self.replica.apply(entries)
        self.recorder.append(entries)
        self.seconds[phase.name] += time.perf_counter() - start

    def play_round(self) -> Played:
        """Play one round."""
        number, start, cpu = self.replica.state.round.number, time.perf_counter(), time.process_time()
        self.seconds.clear()
        while self.replica.state.round.number == number and self.replica.state.phase != Phase.FINISHED:
            self.play_phase(self.replica.state)
        return Played(time.perf_counter() - start, time.process_time() - cpu, dict(self.seconds))

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


def measure(ledger: LedgerKind, nodes: int, rounds: int) -> dict[str, Any]:
    """Measure rounds on one ledger; the first, which pays for new storage, is left out of the medians."""
    with TemporaryDirectory() as directory:
        bench = Bench(ledger, nodes, rounds + 2, Path(directory))
        bench.play_round()
        played = [bench.play_round() for _ in range(rounds)]
        shares = profile(bench)
    return {
        "ledger": ledger,
        "nodes": nodes,
        "seconds": median(each.seconds for each in played),
        "cpu_seconds": median(each.cpu_seconds for each in played),
        "phases": {name: median(each.phases.get(name, 0.0) for each in played) for name in played[0].phases},
        "shares": shares,
    }


def profile(bench: Bench) -> dict[str, float]:
    """Play one round under the profiler, and give each part's share of it.

    The profiler slows small functions most, so that a share may be off by a few hundredths.
    """
    with Profile() as profiler:
        bench.play_round()
    stats: Any = Stats(profiler)  # what is read of it is in no stub
    seconds = {(file, name): times[3] for (file, _, name), times in stats.stats.items()}  # 3: with all that it calls
    shares = {}
    for part, (whole, *others) in PARTS.items():
        shares[part] = (find(seconds, *whole) - sum(find(seconds, *other) for other in others)) / stats.total_tt
    return {**shares, REST: 1 - sum(shares.values())}


def find(seconds: dict[tuple[str, str], float], file: str, name: str) -> float:
    """Find a function's seconds; what was never called took none."""
    return sum(value for (path, function), value in seconds.items() if function == name and path.endswith(file))


def main() -> None:
    """Measure; print tables and goals."""
    args = parse_arguments(__doc__)
    Account.from_key(bytes(31) + b"\1")  # the first signature loads its library; it is nobody's round
    sizes, rounds = ((8,), 3) if args.quick else ((4, 8, 16), 5)
    results = [measure(ledger, nodes, rounds) for nodes in sizes for ledger in get_args(LedgerKind)]
    show(results)
    eight = next(each["seconds"] for each in results if each["ledger"] == "evm" and each["nodes"] == 8)
    name = "protocol seconds a round, 8 nodes, embedded EVM"
    finish(args, [Goal(name, eight, f"< {GOAL_SECONDS}", eight < GOAL_SECONDS)], {"results": results})


def show(results: Sequence[dict[str, Any]]) -> None:
    """Print what rounds take, by phase, and where it goes, by part."""
    names = [f"{each['ledger']}, {each['nodes']} nodes" for each in results]
    times = [("round", "seconds"), ("CPU", "cpu_seconds")]
    rows = [
        (name, *(f"{each[key]:.2f}" for _, key in times), *(f"{value:.2f}" for value in each["phases"].values()))
        for name, each in zip(names, results, strict=True)
    ]
    headings = ("", *(heading for heading, _ in times), *results[0]["phases"])
    show_table("Seconds a round (medians; the first round left out)", headings, rows)
    chains = [each for each in results if each["ledger"] == "evm"]
    rows = [(part, *(f"{each['shares'][part]:.0%}" for each in chains)) for part in (*PARTS, REST)]
    show_table("Shares of a round on the EVM", ("", *(f"{each['nodes']} nodes" for each in chains)), rows)


if __name__ == "__main__":
    main()
