"""Audit: replay a task from its log and its blobs, and say the first thing that differs.

The log gives the calls; everything else is computed again: draws, verdicts, slashes and payouts by the
specification, admission, merges and the final state from the blobs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from openflock.node.reader import Reader
from openflock.protocol.calls import Settled
from openflock.protocol.job import MAX_JOB_SIZE, BadJob, decode_job
from openflock.protocol.ports import BlobCorrupt, BlobMissing, BlobStore, Entry
from openflock.protocol.replay import Divergence, Replica, Step
from openflock.protocol.types import Digest, Genesis, Merged, Outcome, Phase, Proposal, Round, State, Verdict
from openflock.protocol.verdict import list_accepted
from openflock.update.admission import Inadmissible
from openflock.update.codec import get_digest
from openflock.update.container import Malformed
from openflock.update.fixed import initial_state
from openflock.update.merge import compute_merge

OnRound = Callable[[int], None]


class AuditFailure(Exception):
    """The first thing that differs, in one line."""


@dataclass(frozen=True)
class Report:
    """What an audit went through without finding a difference."""

    entries: int
    rounds: int
    updates: int
    merges: int
    finished: bool
    state: State


def audit(genesis: Genesis, entries: Sequence[Entry], store: BlobStore, on_round: OnRound = lambda _: None) -> Report:
    """Replay a task; raise AuditFailure at the first difference."""
    reader = Reader(store)
    check_genesis(genesis, reader)
    updates = merges = rounds = 0
    replica = Replica(genesis)
    built_on, earlier = replica.state.digest, replica.state.merged
    for step in replay(replica, entries):
        settled = next((event for event in step.events if isinstance(event, Settled)), None)
        if settled is None or step.state.ended is None:
            continue
        updates += check_updates(genesis, step.state.ended, built_on, reader)
        if settled.outcome == Outcome.MERGED:
            check_merge(genesis, step.state.ended, built_on, earlier, settled, reader)
            merges += 1
        built_on, earlier = settled.digest, step.state.merged
        rounds += 1
        on_round(rounds)
    state = replica.state
    return Report(len(entries), rounds, updates, merges, state.phase == Phase.FINISHED, state)


def check_genesis(genesis: Genesis, reader: Reader) -> None:
    """Check the job and the initial state against the rules: the state is computed from the job's seed."""
    rules = genesis.rules
    try:
        job = decode_job(reader.store.fetch(rules.job, MAX_JOB_SIZE))
        first = reader.fetch_state(rules.genesis)
    except (BlobMissing, BlobCorrupt, BadJob, Malformed) as error:
        raise AuditFailure(f"genesis: {error}") from error
    if (first.layout.rank, first.layout.alpha, len(job.domains)) != (job.rank, job.alpha, rules.domains):
        raise AuditFailure("genesis: the job and the initial state differ in rank, alpha or domains")
    if first.recipe != job.recipe:
        raise AuditFailure("genesis: the job and the initial state differ in their recipe")
    if get_digest(initial_state(first.layout, job.seed, job.recipe)) != rules.genesis:
        raise AuditFailure("genesis: the initial state does not follow from the job's seed")


def replay(replica: Replica, entries: Sequence[Entry]) -> Iterator[Step]:
    """Give each step of a log; raise AuditFailure where the rules give another."""
    try:
        yield from replica.follow(entries)
    except Divergence as error:
        raise AuditFailure(f"ledger: {error}") from error


def check_updates(genesis: Genesis, ended: Round, built_on: Digest, reader: Reader) -> int:
    """Check every verdict on form against the bytes themselves; return how many updates were checked."""
    checked = 0
    for slot, proposal in sorted(ended.proposals.items()):
        merged, where = slot in list_accepted(ended), f"round {ended.number}, slot {slot}"
        refused = bool(ended.judgements) and ended.judgements[slot].verdict == Verdict.INADMISSIBLE
        if not merged and not refused:
            continue  # nothing followed from its bytes, which may be gone
        reason = explain_inadmissible(genesis, proposal, built_on, reader, where)
        if reason and merged:
            raise AuditFailure(f"{where}: merged, but inadmissible: {reason}")
        if not reason and refused:
            raise AuditFailure(f"{where}: slashed as inadmissible, but {proposal.digest.hex()[:12]} is admissible")
        checked += 1
    return checked


def explain_inadmissible(genesis: Genesis, proposal: Proposal, built_on: Digest, reader: Reader, where: str) -> str:
    """Say why an update is inadmissible, or nothing; what was judged by its bytes must be there to be judged again."""
    try:
        reader.admit(reader.fetch_state(built_on), proposal, genesis.rules.norm_ceiling)
    except Inadmissible as error:
        return str(error)
    except (BlobMissing, BlobCorrupt) as error:
        raise AuditFailure(f"{where}: {error}") from error
    return ""


def check_merge(
    genesis: Genesis, ended: Round, built_on: Digest, earlier: Sequence[Merged], settled: Settled, reader: Reader
) -> None:
    """Merge again and compare with what was attested."""
    where, state, rules = f"round {ended.number}", reader.fetch_state(built_on), genesis.rules
    try:
        past = reader.recall(state, earlier)
        merge = compute_merge(
            rules, ended, state, lambda proposal: reader.admit(state, proposal, rules.norm_ceiling), past
        )
    except (Inadmissible, BlobMissing, BlobCorrupt) as error:
        raise AuditFailure(f"{where}: cannot merge again: {error}") from error
    merged = merge.compute_digest()
    if merged != settled.digest:
        raise AuditFailure(f"{where}: the updates merge to {merged.hex()}, attested was {settled.digest.hex()}")
    if ended.agreed is None or merge.duplicates != ended.agreed.duplicates:
        raise AuditFailure(f"{where}: the attested near-duplicates are not those of the updates")
    try:
        reader.fetch_state(settled.digest)
    except (BlobMissing, BlobCorrupt, Malformed) as error:
        raise AuditFailure(f"{where}: {error}") from error
