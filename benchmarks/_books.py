"""What a task's chain and its nodes' journals tell, once all is over."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from _network import Network

from openflock.edge.evm_ledger import EvmLedger
from openflock.protocol.calls import Settled, Slashed
from openflock.protocol.replay import Replica
from openflock.protocol.types import Act


@dataclass
class Books:
    """What the chain alone tells."""

    outcomes: dict[int, str]  # of each round
    slashes: list[tuple[int, str, str]]  # round, node, fault
    committed: int
    lost: list[tuple[int, str, str]]  # committed and never opened: round, node, act
    digest: str
    phase: str


def read_books(network: Network) -> Books:
    """Replay the task's log from its chain."""
    ledger = EvmLedger(network.web3, network.task, {})
    replica, books = Replica(ledger.get_genesis()), Books({}, [], 0, [], "", "")
    names = {seat.address: seat.name for seat in network.seats}
    for step in replica.follow(ledger.read(0)):
        for event in step.events:
            number = step.state.ended.number if step.state.ended else step.state.round.number
            match event:
                case Slashed(node, fault, amount) if amount:
                    books.slashes.append((number, names[node], fault.name))
                case Settled(number, outcome, _, _):
                    books.outcomes[number] = outcome.name
                    ended = step.state.ended
                    if ended is not None and ended.number == number:
                        books.committed += len(ended.commitments)
                        books.lost += [
                            (number, names[node], Act(act).name)
                            for (act, node), left in ended.commitments.items()
                            if left
                        ]
    books.digest, books.phase = replica.state.digest.hex(), replica.state.phase.name
    return books


def read_transactions(network: Network) -> tuple[Counter[str], list[str]]:
    """Count what the nodes' accounts had mined, by what became of it; list what was mined twice."""
    web3, nodes = network.web3, {seat.address: seat.name for seat in network.seats}
    counts, seen = Counter[str](), defaultdict[tuple[str, str], list[str]](list)
    advance = web3.keccak(text="advance()")[:4]
    for number in range(web3.eth.block_number + 1):
        transactions: Any = web3.eth.get_block(number, full_transactions=True)["transactions"]
        for transaction in transactions:
            sender, data = transaction["from"].lower(), bytes(transaction["input"])
            if sender not in nodes:
                continue
            failed = web3.eth.get_transaction_receipt(transaction["hash"])["status"] == 0
            kind = "advance" if data[:4] == advance else "other"
            counts[f"{kind}, {'refused' if failed else 'done'}"] += 1
            if kind == "other":
                seen[nodes[sender], data.hex()].append("refused" if failed else "done")
    return counts, [
        f"{name}: {data[:8]} {'+'.join(became)}" for (name, data), became in seen.items() if len(became) > 1
    ]


def list_made_again(network: Network) -> Iterator[str]:
    """List what the journals say was signed under more than one nonce: lost first, in a reorganisation perhaps."""
    query = "SELECT purpose, COUNT(DISTINCT nonce) FROM transactions GROUP BY purpose HAVING COUNT(DISTINCT nonce) > 1"
    for seat in network.seats:
        for purpose, count in seat.read_journal(query):
            if not purpose.startswith("Advance"):
                yield f"{seat.name}: {purpose.partition('(')[0]} under {count} nonces"
