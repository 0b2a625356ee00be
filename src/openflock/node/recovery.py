"""Compute a global state again that no store holds: the log says which updates led to it."""

from collections.abc import Sequence
from dataclasses import dataclass

from openflock.node.reader import Reader
from openflock.protocol.calls import Settled
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Entry, Unreachable
from openflock.protocol.replay import Replica
from openflock.protocol.types import Digest, Genesis, Merged, Outcome, Round
from openflock.update.admission import Inadmissible
from openflock.update.merge import compute_merge


def rebuild_state(genesis: Genesis, entries: Sequence[Entry], reader: Reader) -> None:
    """Merge again from the newest state that can be had, and store what comes of it for all to fetch.

    Raises BlobMissing, naming what lacks, where that cannot be done; Unreachable where a store does not answer.
    """
    merges = list_merges(genesis, entries)
    wanted = merges[-1].after if merges else genesis.rules.genesis
    missing = merges
    while missing and not _can_fetch(reader, missing[-1].before):
        missing = missing[:-1]
    for each in merges[max(0, len(missing) - 1) :]:
        where = f"round {each.ended.number}"
        try:
            merged = _merge(genesis, each, reader)
        except (BlobMissing, BlobCorrupt, Inadmissible) as error:
            raise BlobMissing(
                f"the global state {wanted.hex()} is in no store, and cannot be computed again: {where}: {error}"
            ) from error
        if merged != each.after:
            raise BlobMissing(f"{where}: the updates merge to {merged.hex()}, agreed was {each.after.hex()}")
    reader.fetch_state(wanted)


@dataclass(frozen=True)
class Moved:
    """A round that moved the global state: the digest before, the digest after, and what rounds before had merged."""

    before: Digest
    after: Digest
    ended: Round
    earlier: Sequence[Merged]


def list_merges(genesis: Genesis, entries: Sequence[Entry]) -> list[Moved]:
    """List the rounds that moved the global state."""
    replica, merges = Replica(genesis), []
    before = replica.state
    for step in replica.follow(entries):
        for event in step.events:
            if isinstance(event, Settled) and event.outcome == Outcome.MERGED and step.state.ended is not None:
                merges.append(Moved(before.digest, event.digest, step.state.ended, before.merged))
        before = step.state
    return merges


def _merge(genesis: Genesis, moved: Moved, reader: Reader) -> Digest:
    state, ceiling = reader.fetch_state(moved.before), genesis.rules.norm_ceiling
    # What is old decides pay, not the state; only a recipe with a memory merges by it.
    past = reader.recall(state, moved.earlier) if state.recipe.memory else ()
    merge = compute_merge(
        genesis.rules, moved.ended, state, lambda proposal: reader.admit(state, proposal, ceiling), past
    )
    return reader.put_state(merge.stream())


def _can_fetch(reader: Reader, digest: Digest) -> bool:
    try:
        reader.fetch_state(digest)
    except (BlobMissing, BlobCorrupt, Unreachable):
        return False
    return True
