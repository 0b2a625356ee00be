"""Compute what a round leads to: the candidate state and the near-duplicates among its accepted updates."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from openflock.protocol.rules import Rules
from openflock.protocol.settlement import MERGED_VERDICTS
from openflock.protocol.types import Proposal, Round
from openflock.update.admission import check_admission
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import encode_state
from openflock.update.duplicates import find_duplicates
from openflock.update.fixed import GlobalState


@dataclass(frozen=True)
class Merge:
    """What honest voters attest: the candidate's bytes, and 4 bits a slot naming the lowest near-duplicate."""

    candidate: bytes
    duplicates: int


def list_accepted(current: Round) -> list[int]:
    """List the slots whose updates are merged."""
    return [slot for slot, judgement in enumerate(current.judgements) if judgement.verdict in MERGED_VERDICTS]


def compute_merge(
    rules: Rules, current: Round, state: GlobalState, fetch: Callable[[Proposal], bytes], shuffle: int = 0
) -> Merge:
    """Merge the accepted updates of a judged round, weighted by seats; exact, so all nodes get the same bytes.

    `shuffle` seeds another order of summation, for who wants to see that it changes nothing.
    Raises what `fetch` raises, and Inadmissible if a false majority accepted what no honest node may merge.
    """
    accepted = list_accepted(current)
    updates = [check_admission(state, fetch(current.proposals[slot]), rules.norm_ceiling) for slot in accepted]
    weights = [current.proposers[slot].weight for slot in accepted]
    weighted = list(zip(weights, updates, strict=True))
    if shuffle:
        random.Random(shuffle).shuffle(weighted)
    candidate = encode_state(compute_candidate(state, weighted))
    originals = find_duplicates(updates, rules.duplicate_cosine)
    named = dict(zip(accepted, (accepted[position] for position in originals), strict=True))
    word = sum(named.get(slot, slot) << (4 * slot) for slot in range(len(current.proposers)))
    return Merge(candidate, word)
