"""What does a network of node processes lose when everything around it fails, again and again?

Nodes run as `openflock node run`, over Anvil (two blocks a second, 4 confirmations) and a local S3 server, each behind
a proxy. Faults follow one after the other, some before the last is over: kill -9 of a node at a random instant and a
restart, Anvil stopped for 10 s, a fifth of RPC calls failing, a store that fails or serves changed bytes, a
reorganisation of 3 blocks, a clock off by 20 s (the chain's, or a node's own). Which, whom and when follow from
the seed; what they meet does not. After the last one the creator cancels, the running round ends, and the books are
read: from the chain alone, from the nodes' journals, and by an audit in a process of its own.
"""

import os
import signal
import time as wall
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from _books import Books, list_made_again, read_books, read_transactions
from _harness import Goal, finish, parse_arguments, show_table
from _network import Network, Seat, start_network, wait_for
from _proxy import CALM, Mood

from openflock.app.settings import parse_config
from openflock.protocol.types import Phase

SEED = 5
NODES, CONFIRMATIONS, BLOCK_TIME = 5, 4, 0.5
FAULTS, QUICK_FAULTS = 104, 9
PAUSE, REORG, SKEW, ERRORS = 10, 3, 20, 0.2
DURATION = (8.0, 14.0)  # seconds that a proxy's fault lasts
GAP = (3.0, 9.0)  # seconds from one fault's beginning to the next one's
HURRY = 0.5  # of the quick form
DOWN = (0.0, 3.0)  # seconds that a killed node stays away
PHASE = 180  # seconds of each phase that can end early; longer than any fault, and than starts that follow each other
READY, STUCK = 240.0, 2.0 * PHASE  # seconds after which a start, or a phase, counts as hanging

KINDS = {  # and how often each is drawn
    "kill -9": 30, "Anvil paused 10 s": 12, "20 % of RPC calls fail": 16, "store fails": 12,
    "store serves changed bytes": 12, "reorganisation of 3 blocks": 12, "clock off by 20 s": 10,
}  # fmt: skip

CONFIG: dict[str, Any] = {
    "title": "Chaos", "domains": ["reverse", "shift"], "nodes_per_domain": 3, "max_length": 64, "rank": 2, "alpha": 8,
    "train": {"steps": 3, "batch_size": 4}, "stake": 200,
    "rules": {
        "rounds": 1000, "min_nodes": NODES, "min_voters": 3, "max_tries": 100, "gather": 4, "probe": 2, "seed_delay": 1,
        **dict.fromkeys(("propose", "publish", "expose", "vote", "reveal", "attest", "confirm"), PHASE),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault of the plan."""

    kind: str
    gap: float
    node: int
    duration: float
    down: float


@dataclass
class Met:
    """One fault as it happened."""

    kind: str
    place: tuple[int, Phase]
    began: float
    moved_on: float | None = None  # seconds until the task entered another phase


def plan_faults(seed: int, count: int) -> list[Fault]:
    """Draw the faults; every kind comes at least once where there are as many faults as kinds."""
    random = Random(seed)
    kinds = list(KINDS) + random.choices(list(KINDS), list(KINDS.values()), k=max(0, count - len(KINDS)))
    random.shuffle(kinds)
    return [
        Fault(kind, random.uniform(*GAP), random.randrange(NODES), random.uniform(*DURATION), random.uniform(*DOWN))
        for kind in kinds[:count]
    ]


@dataclass
class Chaos:
    """The network under fire: what is to be undone when, and what was seen."""

    network: Network
    met: list[Met] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)  # of nodes that nobody killed, by exit code
    place: tuple[int, Phase] = (0, Phase.GATHER)
    moved: float = field(default_factory=wall.monotonic)
    absences: list[tuple[float, str]] = field(default_factory=list)  # seconds without a node that is ready
    _away: dict[str, tuple[float, int]] = field(default_factory=dict)  # since when, after how many times ready
    _due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _is_paused: bool = False

    def run(self, faults: Sequence[Fault], hurry: float) -> None:
        """Let the faults happen, one after the other."""
        for fault in faults:
            self.wait(fault.gap * hurry)
            self.met.append(Met(fault.kind, self.place, wall.monotonic()))
            self.inflict(fault)
            print(f"  {len(self.met):3} {fault.kind:28} in {self.place[1].name} of round {self.place[0]}", flush=True)
        self.wait(max(DURATION[1], DOWN[1], PAUSE))

    def inflict(self, fault: Fault) -> None:
        """Do one fault's harm, and plan its end."""
        network, seat = self.network, self.network.seats[fault.node]
        match fault.kind:
            case "kill -9":
                self.restart(seat, fault.down)
            case "Anvil paused 10 s":
                self.pause()
            case "20 % of RPC calls fail":
                network.rpc.mood = Mood(failing=ERRORS)
                self.later(fault.duration, lambda: setattr(network.rpc, "mood", CALM))
            case "store fails":
                network.store.mood = Mood(failing=1.0)
                self.later(fault.duration, lambda: setattr(network.store, "mood", CALM))
            case "store serves changed bytes":
                network.store.mood = Mood(corrupting=True)
                self.later(fault.duration, lambda: setattr(network.store, "mood", CALM))
            case "reorganisation of 3 blocks":
                self.reorganise()
            case "clock off by 20 s":
                self.shift_clock(seat, fault.down)

    def restart(self, seat: Seat, down: float, skew: int = 0) -> None:
        """Kill a node, and start it again."""
        self._away.setdefault(seat.name, (wall.monotonic(), seat.count_lines("ready")))
        seat.kill()
        seat.process = None
        self.later(down, lambda: seat.start(self.network.environment, skew))

    def pause(self) -> None:
        """Stop Anvil, and let it go on."""
        process = self.network.anvil.process
        os.kill(process.pid, signal.SIGSTOP)
        self._is_paused = True

        def go_on() -> None:
            os.kill(process.pid, signal.SIGCONT)
            self._is_paused = False

        self.later(PAUSE, go_on)

    def reorganise(self) -> None:
        """Replace the last blocks by empty ones; Anvil's clock falls behind by this, and is set right again."""
        anvil = self.network.anvil
        anvil.request("anvil_reorg", REORG, [])
        behind = wall.time() - self.network.web3.eth.get_block("latest")["timestamp"]
        if behind > REORG:
            anvil.request("evm_increaseTime", round(behind))

    def shift_clock(self, seat: Seat, down: float) -> None:
        """Set the chain's clock ahead, or, if it is already, a node's own."""
        ahead = self.network.web3.eth.get_block("latest")["timestamp"] - wall.time()
        if ahead < SKEW / 4:
            self.network.anvil.request("evm_increaseTime", SKEW)
        else:
            self.restart(seat, down, SKEW)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Plan an action."""
        self._due.append((wall.monotonic() + seconds, action))

    def wait(self, seconds: float) -> None:
        """Let time pass, in which planned actions are done, dead nodes restarted, and the task is looked at.

        What needs a chain that answers waits until it does.
        """
        until = wall.monotonic() + seconds
        while wall.monotonic() < until or self._is_paused:
            self.tick()
            wall.sleep(0.25)

    def tick(self) -> None:
        """Do what is due, and look."""
        now = wall.monotonic()
        due, self._due = [it for it in self._due if it[0] <= now], [it for it in self._due if it[0] > now]
        for _, action in due:
            action()
        for seat in self.network.seats:
            if seat.process is not None and not seat.is_running():
                if (code := seat.process.returncode) == 0:
                    continue
                self.deaths[str(code)] += 1
                self.restart(seat, 2.0, seat.skew)  # as a service manager does
            if seat.name in self._away and seat.count_lines("ready") > self._away[seat.name][1]:
                self.absences.append((round(now - self._away.pop(seat.name)[0], 1), seat.name))
        if not self._is_paused:
            self.look()

    def look(self) -> None:
        """See whether the task has moved on; raise TimeoutError if it hangs."""
        place, now = self.network.get_place(), wall.monotonic()
        if place != self.place:
            self.place, self.moved = place, now
            for met in self.met:
                met.moved_on = met.moved_on or now - met.began
        if now - self.moved > STUCK:
            raise TimeoutError(f"round {place[0]} hangs in {place[1].name} for {STUCK:.0f} s")

    def end(self) -> None:
        """Cancel, and wait until every node has ended by itself."""
        self.network.cancel()
        deadline = wall.monotonic() + 8 * PHASE
        while any(seat.process is None or seat.is_running() for seat in self.network.seats):
            self.tick_at_end()
            if wall.monotonic() > deadline:
                names = [seat.name for seat in self.network.seats if seat.process is None or seat.is_running()]
                raise TimeoutError(f"{', '.join(names)} did not end by themselves")

    def tick_at_end(self) -> None:
        """Wait on; a task that is over moves no more."""
        if self.place[1] == Phase.FINISHED:
            self.moved = wall.monotonic()
        self.tick()
        wall.sleep(0.5)


# --- Report --------------------------------------------------------------------------------------------------


def show_faults(chaos: Chaos, books: Books) -> list[dict[str, Any]]:
    """Print the table of faults and outcomes, by kind."""
    found: list[dict[str, Any]] = []
    for kind in KINDS:
        met = [it for it in chaos.met if it.kind == kind]
        rounds = {it.place[0] for it in met}
        outcomes = Counter(books.outcomes.get(number, "cancelled before its draw") for number in sorted(rounds))
        waits = [it.moved_on for it in met if it.moved_on is not None]
        slashed = sum(number in rounds for number, _, _ in books.slashes)
        found.append({
            "kind": kind, "faults": len(met), "rounds": len(rounds), "outcomes": dict(outcomes), "slashes": slashed,
            "median_s": round(median(waits), 1) if waits else None, "max_s": round(max(waits), 1) if waits else None,
        })  # fmt: skip
    rows = []
    for it in found:
        ended = ", ".join(f"{count} {outcome}" for outcome, count in it["outcomes"].items())
        figures = (it["faults"], it["rounds"], ended, it["slashes"], it["median_s"], it["max_s"])
        rows.append((str(it["kind"]), *map(str, figures)))
    headings = ("fault", "times", "in rounds", "which ended", "slashes in them", "next phase after s", "at most")
    show_table(f"{len(chaos.met)} faults of seed {SEED}, {NODES} nodes", headings, rows)
    return found


def set_goals(
    chaos: Chaos, books: Books, mined: int, twice: Sequence[str], failures: int, same: bool, audit: Any
) -> list[Goal]:
    """Hold what was seen against what should be."""
    count, wanted = len(chaos.met), 100 if len(chaos.met) > QUICK_FAULTS else QUICK_FAULTS
    digests = audit.get("digest") == books.digest
    return [
        Goal("faults", count, f">= {wanted}", count >= wanted),
        Goal("rounds that did not end", float(books.phase != "FINISHED"), "0", books.phase == "FINISHED"),
        Goal("slashes of honest nodes", len(books.slashes), "0", not books.slashes),
        Goal(f"openings lost, of {books.committed} commitments", len(books.lost), "0", not books.lost),
        Goal(f"calls mined twice, of {mined}", len(twice), "0", mined > 0 and not twice),
        Goal("nodes that differ from the chain's digest", float(not same), "0", same),
        Goal("audit from chain and store: exit code", audit["exit"], "0", audit["exit"] == 0 and digests),
        Goal("errors that no node foresaw", failures, "0", failures == 0),
    ]


def report(chaos: Chaos, seconds: float) -> tuple[list[Goal], dict[str, Any]]:
    """Read the books, print the tables, set the goals."""
    network, books = chaos.network, read_books(chaos.network)
    audit = network.audit()
    counts, twice = read_transactions(network)
    statuses = [seat.read_status() for seat in network.seats]
    same = all(status["digest"] == books.digest and status["finished"] for status in statuses)
    failures = sum(seat.count_lines("failed") for seat in network.seats)
    table = show_faults(chaos, books)
    again = list(list_made_again(network))
    outcomes = Counter(books.outcomes.values())
    print(f"{len(books.outcomes)} rounds in {seconds:.0f} s: {dict(outcomes)}; final digest {books.digest}")
    print(f"slashes: {books.slashes}; lost openings: {books.lost}; mined twice: {twice}")
    print(f"transactions: {dict(counts)}; signed again under another nonce: {again}")
    starts = {seat.name: seat.starts for seat in network.seats}
    print(f"starts: {starts}; ended by themselves, and started again: {dict(chaos.deaths)} (by exit code)")
    print(f"longest absences, of phases of {PHASE} s: {sorted(chaos.absences, reverse=True)[:5]}")
    print(f"faults of the proxies: RPC {dict(network.rpc.faults)}, store {dict(network.store.faults)}")
    print(f"audit: {audit}")
    results = {
        "seed": SEED, "nodes": NODES, "confirmations": CONFIRMATIONS, "seconds": seconds, "faults": table,
        "books": asdict(books), "transactions": counts, "twice": twice, "again": again, "starts": starts,
        "deaths": chaos.deaths, "absences": chaos.absences, "phase": PHASE,
        "rpc": network.rpc.faults, "store": network.store.faults, "audit": audit,
    }  # fmt: skip
    return set_goals(chaos, books, counts.total(), twice, failures, same, audit), results


def main() -> None:
    """Start a network, let faults happen, and say what became of it."""
    args = parse_arguments(__doc__)
    config, began = parse_config(CONFIG), wall.monotonic()
    kept = os.environ.get("OPENFLOCK_CHAOS")  # a directory to keep everything in, for who looks for a cause
    with TemporaryDirectory(prefix="openflock-chaos-") as temporary:
        directory = Path(kept or temporary)
        with start_network(config, directory, NODES, CONFIRMATIONS, SEED, BLOCK_TIME) as network:
            wait_for(lambda: network.get_place()[1] > Phase.DRAW, READY, "the first draw")
            print(f"{NODES} nodes play after {wall.monotonic() - began:.0f} s; seed {SEED}", flush=True)
            chaos = Chaos(network)
            chaos.run(plan_faults(SEED, QUICK_FAULTS if args.quick else FAULTS), HURRY if args.quick else 1)
            chaos.end()
            goals, results = report(chaos, wall.monotonic() - began)
    finish(args, goals, results)


if __name__ == "__main__":
    main()
