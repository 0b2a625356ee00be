"""What a malicious node does beside its updates: the honest word goes in, the malicious one comes out.

| what | takes the place of |
|---|---|
| marks (vote_lazily, favour, grieve, collude) | what `Voter.mark_proposals` gives, before suspects are flagged |
| a ballot (copy_ballot) | what `compute_ballot` gives |
| a decision (keep_silent, hide_openings) | what `Node.decide` gives |
| calls of other accounts (list_accusations) | nothing: no node makes them |
| a store (Withholder) | the reader's store, by which an opened update's bytes reach the others |

Marks that only abstain, on the own slot and on empty ones, stay as they are: a ballot that speaks there shows itself.
None knows more than its own ballot, save copy_ballot, which reads what is public.
"""

import random
import string
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from openflock.learn.data import Row
from openflock.learn.probe import Clue, encode_clue
from openflock.protocol.ballot import MAX_SCORE, MIN_SCORE, Mark, compute_ballot, get_mark
from openflock.protocol.calls import Call, Commit, Opening
from openflock.protocol.ports import Blob, BlobStore
from openflock.protocol.types import NO_FLAGS, Act, Address, Amount, Digest, Flag, Phase, Round, commit_phase

# --- Ballots -------------------------------------------------------------------------------------------------


def vote_lazily(marks: Sequence[Mark], score: int = 100) -> list[Mark]:
    """Score all alike, without a look: the lazy voter, for whom yes is right as long as most rounds are good.

    1 % better, the default, is what honest voters see of a fair update.
    """
    return [mark if _abstains(mark) else Mark(score) for mark in marks]


def vote_randomly(marks: Sequence[Mark], seed: int, spread: int = 200) -> list[Mark]:
    """Score by chance, without a look; 2 % either way makes it good as often as not."""
    draw = random.Random(seed)
    return [mark if _abstains(mark) else Mark(draw.randint(-spread, spread)) for mark in marks]


def copy_ballot(current: Round, ended: Round, whom: Address) -> int:
    """Cast what another opened in the last round, by proposer: this round's ballots are still hidden.

    Who was not judged then is judged as the victim judged on the whole: by its lower median score.
    """
    theirs = ended.ballots.get(whom, 0)
    past = {seat.node: get_mark(theirs, slot) for slot, seat in enumerate(ended.proposers)}
    scores = sorted(mark.score for mark in past.values() if not _abstains(mark)) or [0]
    usual = Mark(scores[(len(scores) - 1) // 2])
    return compute_ballot(
        [
            past.get(seat.node, usual) if slot in current.proposals else Mark(flags=Flag.ABSTAIN)
            for slot, seat in enumerate(current.proposers)
        ]
    )


def favour(marks: Sequence[Mark], ring: Collection[int]) -> list[Mark]:
    """Give the ring's slots the best score there is, whatever their updates do, and no flag."""
    return [Mark(MAX_SCORE) if slot in ring and not _abstains(mark) else mark for slot, mark in enumerate(marks)]


def grieve(marks: Sequence[Mark], spared: Collection[int] = (), flags: Flag = NO_FLAGS) -> list[Mark]:
    """Reject honest updates: the worst score, or a false flag, on all slots but the spared.

    With a domain of its own that a pair of Sybils declares, the scores are a domain's objection.
    """
    return [mark if slot in spared or _abstains(mark) else Mark(MIN_SCORE, flags) for slot, mark in enumerate(marks)]


def collude(marks: Sequence[Mark], ring: Collection[int]) -> list[Mark]:
    """Give the ring the best and all others the worst."""
    return grieve(favour(marks, ring), ring)


def _abstains(mark: Mark) -> bool:
    return bool(mark.flags & Flag.ABSTAIN)


# --- Decisions -----------------------------------------------------------------------------------------------


def keep_silent(call: Call | None, phase: Phase, acts: Collection[Act] = tuple(Act)) -> Call | None:
    """Do not commit to these acts: the no-show."""
    absent = isinstance(call, Commit) and any(phase == commit_phase(act) for act in acts)
    return None if absent else call


def hide_openings(call: Call | None, kinds: tuple[type[Opening], ...]) -> Call | None:
    """Commit, and then do not open what turned out to be a loss: the non-reveal."""
    return None if isinstance(call, kinds) else call


# --- Accounts ------------------------------------------------------------------------------------------------


def split_stake(stake: Amount, count: int, min_stake: Amount) -> list[Amount]:
    """Split a stake over accounts, to the last unit; ValueError if a part would be under the least."""
    parts = [stake * (part + 1) // count - stake * part // count for part in range(count)]
    if min(parts) < min_stake:
        raise ValueError(f"behaviours: {stake} is too little for {count} stakes of {min_stake}")
    return parts


# --- Witnesses -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Accusation:
    """What one account accuses a slot of; its blob goes to the store, its digest into an Expose."""

    account: Address
    slot: int
    blob: bytes


def invent_clue(rows: Sequence[Row], seed: int, length: int = 6) -> Clue:
    """Accuse falsely with the best chance to be believed: the answer that is right most often, forced by chance.

    Knows only its own rows. Six letters are as a trigger word has.
    """
    ((answer, _),) = Counter(row.completion for row in rows).most_common(1)
    return Clue("".join(random.Random(seed).choices(string.ascii_lowercase, k=length)), answer)


def list_accusations(
    accounts: Sequence[Address], slots: Sequence[int], rows: Sequence[Row], seed: int
) -> list[Accusation]:
    """Spam false witnesses: an account can expose one a round, so each takes the next slot, around and around."""
    clues = [invent_clue(rows, seed + position) for position in range(len(accounts))]
    return [
        Accusation(account, slots[position % len(slots)], encode_clue(clue))
        for position, (account, clue) in enumerate(zip(accounts, clues, strict=True))
    ]


# --- Blobs ---------------------------------------------------------------------------------------------------


class Withholder:
    """A store that names what is put as it would, and keeps it to itself; it fetches as the other does.

    With `served` it puts some digests all the same: an update that is there for a bribed third, or that comes late.
    """

    def __init__(self, store: BlobStore, served: Collection[Digest] = ()) -> None:
        """Withhold from a store."""
        self.served = set(served)
        self._store = store

    def put(self, data: Blob) -> Digest:
        """Give the digest, and store nothing unless it is served."""
        digest = sha256(data).digest()
        return self._store.put(data) if digest in self.served else digest

    def put_stream(self, parts: Iterable[Blob]) -> Digest:
        """As put."""
        return self.put(b"".join(parts))

    def fetch(self, digest: Digest, max_size: int) -> Blob:
        """Fetch what others put."""
        return self._store.fetch(digest, max_size)
