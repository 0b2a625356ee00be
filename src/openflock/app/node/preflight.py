"""Look at all that a node needs before it puts anything at stake, and say at once what lacks, each with its mend."""

import os
import shutil
import time as wall
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from web3 import Web3

from openflock.app.failures import explain
from openflock.app.node.settings import NodeConfig
from openflock.app.settings import SettingsError
from openflock.app.tables import format_tokens
from openflock.edge.blobs import DirectoryStore
from openflock.learn.data import DataError, Row
from openflock.learn.encode import can_encode
from openflock.learn.sealed import MAX_SEALED_SIZE
from openflock.node.unsealer import Unsealer
from openflock.protocol.job import MAX_JOB_SIZE, Job, decode_job
from openflock.protocol.ports import BlobCorrupt, BlobMissing, BlobStore
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Amount, Digest, Phase, State
from openflock.update.compress import FORMS
from openflock.update.merge import count_recalled

GAS_A_ROUND = 2_500_000  # what a node's eight calls of a round take at most
ROUNDS_AHEAD = 3  # for which it must be able to pay gas
SKEW = 30  # seconds between this machine's clock and the newest block's
LATE = 5  # block times after which a chain counts as standing still
SPARE = 2**28  # bytes of memory and of disk beside what can be computed
TRIED = 1024  # rows
FETCHED_PARTS = 2**26  # bytes of an update that a fetch holds at once
CHUNK_STATES = 6  # states at hand at once: the current one, the candidate, velocities, and what an update becomes

Found = TypeVar("Found")


class NotReady(ValueError):
    """What lacks before a node can start; `problems` are lines, each with its mend."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Survey:
    """Try what a node needs, one thing after the other, and remember what cannot be had."""

    def __init__(self) -> None:
        """Begin without problems."""
        self.problems: list[str] = []

    def get(self, look: Callable[[], Found]) -> Found | None:
        """Give what a look finds, None where it fails in a way that the user can mend."""
        try:
            return look()
        except (ValueError, LookupError, OSError, RuntimeError) as error:
            reason = explain(error)
            if reason is None:
                raise
            self.problems.append(reason)
            return None

    def note(self, problems: Iterator[str]) -> None:
        """Remember problems."""
        self.problems += problems

    def conclude(self) -> None:
        """Raise NotReady if anything lacks."""
        if self.problems:
            raise NotReady(self.problems)


# --- The task ------------------------------------------------------------------------------------------------


def fetch_job(store: BlobStore, rules: Rules) -> Job:
    """Fetch the job, and put it back: where nothing can be put, no update can be offered."""
    try:
        blob = store.fetch(rules.job, MAX_JOB_SIZE)
    except BlobMissing as error:
        raise SettingsError(
            f"--store: the task's job is not there ({error}); give the store that the task uses"
        ) from error
    store.put(blob)
    job = decode_job(blob)
    if len(job.domains) != rules.domains:
        raise SettingsError(f"the job names {len(job.domains)} domains, the rules {rules.domains}: not a task to join")
    return job


def list_openings(chest: Path | None, job: Job, store: BlobStore) -> list[Unsealer]:
    """Give the duty of who opens a task's sealed rows, once all of them are in its chest; nobody else has one."""
    if chest is None:
        return []
    if not job.sealed:
        raise SettingsError("--chest: this task has no sealed rows; leave it out")
    if isinstance(store, DirectoryStore) and chest.resolve() == store.directory.resolve():
        raise SettingsError(f"--chest {chest}: is the store, where all look; give the one the task was created with")
    if not chest.is_dir():
        raise SettingsError(f"--chest {chest}: no such directory; give the one that the task was created with")
    rows = DirectoryStore(chest, private=True)
    for number, digest in enumerate(job.sealed, 1):
        try:
            rows.fetch(digest, MAX_SEALED_SIZE)
        except (BlobMissing, BlobCorrupt) as error:
            raise SettingsError(
                f"--chest {chest}: lacks the rows of round {number}; give the one that the task was created with"
            ) from error
    return [Unsealer(job.sealed, rows, store)]


def choose_domain(domain: str | None, data: Path, job: Job) -> int:
    """Choose a node's domain: the one named, or the one that the data's place names."""
    names = job.domains
    if domain is not None and domain not in names:
        raise SettingsError(f"--domain {domain}: the task has {', '.join(names)}")
    hints = [domain] if domain else [data.stem, data.absolute().parent.name, *(names if len(names) == 1 else ())]
    found = next((hint for hint in hints if hint in names), None)
    if found is None:
        raise SettingsError(f"--domain: say which kind of data {data} is: {', '.join(names)}")
    return names.index(found)


def check_standing(state: State, me: Address) -> Iterator[str]:
    """Look at whether the task can still be joined."""
    if state.phase == Phase.FINISHED and me not in state.nodes and not state.payable.get(me):
        yield f"task {state.genesis.task}: it is over; choose another"
    if state.cancelled and me not in state.nodes:
        yield f"task {state.genesis.task}: its creator cancelled it; choose another"


# --- Data ----------------------------------------------------------------------------------------------------


def split_rows(rows: Sequence[Row], wanted: int, source: Path) -> tuple[list[Row], list[Row]]:
    """Split rows into those to train on and those to judge with: the first ones of the file, at most half of it.

    Rows appended later are for training, so no row is ever used for both; copies of the held-out ones are left out.
    """
    count = min(wanted, len(rows) // 2)
    held_out = list(rows[:count])
    judging = set(held_out)
    train = [row for row in rows[count:] if row not in judging]
    if not held_out or not train:
        raise DataError(f"{source}: too few different rows; give at least one to train on and one to judge with")
    return train, held_out


# --- Money ---------------------------------------------------------------------------------------------------


def check_stake(state: State, me: Address, stake: Amount) -> Iterator[str]:
    """Look at whether the stake suffices to be drawn."""
    least = state.genesis.rules.min_stake
    if me not in state.nodes and 0 < stake < least:
        yield f"--stake {format_tokens(stake)}: less than the task's minimum; stake {format_tokens(least)} or more"


def check_balances(
    web3: Web3, state: State, me: Address, balance: Amount, stake: Amount, bond: Amount = 0
) -> Iterator[str]:
    """Look at whether the wallet can pay stake and gas of some rounds, and the bond of a witness that it may bring."""
    if me not in state.nodes and state.phase != Phase.FINISHED and balance < stake:
        yield (
            f"wallet {me} holds {format_tokens(balance)} of the token {state.genesis.token}, the stake is"
            f" {format_tokens(stake)}; send it tokens or stake less"
        )
    if bond and state.phase != Phase.FINISHED and balance < bond + (stake if me not in state.nodes else 0):
        yield (
            f"probe: wallet {me} holds {format_tokens(balance)}, and a witness takes a bond of {format_tokens(bond)}"
            " beside the stake; send it tokens, or set probe = false"
        )
    ether = web3.eth.get_balance(Web3.to_checksum_address(me))
    needed = web3.eth.gas_price * GAS_A_ROUND * ROUNDS_AHEAD
    if ether < max(1, needed):
        yield (
            f"wallet {me} holds {ether / 10**18:.6f} of the chain's coin, the gas of {ROUNDS_AHEAD} rounds costs about"
            f" {needed / 10**18:.6f}; send it some"
        )


# --- This machine --------------------------------------------------------------------------------------------


def check_clock(web3: Web3) -> Iterator[str]:
    """Compare this machine's clock with the newest block's."""
    newest = web3.eth.get_block("latest")
    before = web3.eth.get_block(max(0, newest["number"] - 1))
    age, pace = wall.time() - newest["timestamp"], newest["timestamp"] - before["timestamp"]
    if age < -SKEW:
        yield f"clock: this machine is {-age:.0f} s behind the newest block; set it (timedatectl set-ntp true)"
    elif age > max(SKEW, LATE * pace):
        yield (
            f"clock: the newest block is {age:.0f} s old: this machine's clock is ahead (timedatectl set-ntp true), or"
            " the chain or its endpoint stands still"
        )


def check_machine(base: Path, job: Job, config: NodeConfig, directory: Path, rules: Rules) -> Iterator[str]:
    """Estimate whether memory and disk suffice."""
    weights, numbers = measure_base(base, job.rank)
    width = 0.6 if config.quantization != "none" else 4 if config.device == "cpu" else 2
    # All that a merge is compared with is fetched at once, by who comes new to a committee.
    form, fetches = FORMS[job.recipe.encoding], rules.proposer_seats * (1 + count_recalled(job.recipe))
    size = min(rules.max_size, numbers * (form.size + 1) // form.block)
    fetched = min(size, FETCHED_PARTS) * fetches
    memory = (weights * width if config.device == "cpu" else 0) + 8 * numbers * CHUNK_STATES + fetched + SPARE
    free = read_free_memory()
    if memory > free:
        yield (
            f"memory: about {memory / 2**30:.1f} GiB are needed, {free / 2**30:.1f} are free; end other programs, or"
            ' choose quantization = "nf4" or another device in --config'
        )
    disk = size * fetches + 16 * numbers * CHUNK_STATES + SPARE
    left = shutil.disk_usage(directory).free
    if disk > left:
        yield (
            f"disk: about {disk / 2**30:.1f} GiB are needed at {directory}, {left / 2**30:.1f} are free; free some, or"
            " choose another --dir"
        )


def measure_base(base: Path, rank: int) -> tuple[int, int]:
    """Count a base's numbers, and at most how many an adapter of a rank has, from the headers of its files."""
    weights = numbers = 0
    for file in base.glob("*.safetensors"):
        with safe_open(file, framework="np") as stored:
            for name in stored.keys():  # noqa: SIM118  # it is no dictionary
                shape = stored.get_slice(name).get_shape()
                size = 1
                for side in shape:
                    size *= side
                weights += size
                numbers += rank * sum(shape) if len(shape) == 2 else 0
    return weights, numbers


def read_free_memory() -> int:
    """Read how many bytes of memory can be had; where the system does not say, how many there are."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_initial_state(computed: Digest, rules: Rules) -> Iterator[str]:
    """Compare the initial state that follows from job and base with the one that the rules name."""
    if computed != rules.genesis:
        yield (
            f"the job leads to the initial state {computed.hex()[:12]}, the rules name {rules.genesis.hex()[:12]}:"
            " the task's creator is mistaken or lies; do not join"
        )


def check_updates(size: int, rank: int, job: Job, rules: Rules) -> Iterator[str]:
    """Look whether an honest update can be sent: each one that cannot costs a fee."""
    if size > rules.max_size:
        yield f"the rules allow updates of {rules.max_size:,} bytes, this adapter's take {size:,}: not a task to join"
    if rank > job.rank:
        yield f"rank = {rank}: over the task's {job.rank}; lower it in --config"


def check_rows(tokenizer: Any, rows: Sequence[Row], max_length: int) -> Iterator[str]:
    """Look whether the base's tokenizer and chat template take this node's rows; of very many, the first.

    A row is told by its number: what it says is nobody's business, and an error may end in a log.
    """
    refused = [number for number, row in enumerate(rows[:TRIED]) if not can_encode(tokenizer, [row], max_length)]
    if refused:
        yield (
            f"--data: the base's tokenizer or chat template refuses {len(refused)} of {len(rows[:TRIED])} rows, the"
            f" first of them row {refused[0] + 1}, copies of held-out ones not counted; leave them out, or write their"
            " messages as the template wants them"
        )
