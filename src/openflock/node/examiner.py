"""The examiner: score updates on the rows that the task's creator sealed, once they are open; all see the same."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from math import fsum, isfinite, sqrt
from typing import Final, TypeVar

from openflock.learn.data import Row
from openflock.learn.encode import can_encode
from openflock.learn.evaluate import EvaluationSettings, Immeasurable, list_losses, relative_score
from openflock.learn.model import Model
from openflock.learn.sealed import MAX_SEALED_SIZE, BadSealed, decode_sealed
from openflock.node.case import Case
from openflock.node.doses import list_updates
from openflock.node.pace import TooLate
from openflock.node.reader import Reader
from openflock.node.shares import count_gain, find_clips, find_share
from openflock.node.watch import EXAMINATION, Watch, watch_nothing
from openflock.protocol.ballot import choose_sealed_score
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable, Wanted
from openflock.protocol.rules import Rules
from openflock.protocol.types import Digest
from openflock.update.aggregate import compute_share
from openflock.update.codec import Update
from openflock.update.fixed import GlobalState

Of = TypeVar("Of")
Rows = Sequence[Sequence[Row]]  # by domain
Losses = Sequence[Sequence[float]]  # of each row, by domain

CERTAINTY: Final = (
    0.25  # standard errors by which a gain may be larger than it looks; chosen on the arena's seeds 0 to 3
)


@dataclass
class Examiner:
    """What a voter examines with: the digests of the sealed rows, one a round; rounds beyond them have none."""

    digests: Sequence[Digest]
    settings: EvaluationSettings
    watch: Watch = watch_nothing
    _fetched: tuple[int, Rows | None] = (0, None)  # of the last round asked for
    _grades: dict[int, int | None] = field(default_factory=dict)  # by slot, as far as the case of `_graded` was judged
    _graded: object = None  # its grounds
    _start: tuple[Losses, Losses] | None = None  # of the base, and of the state that the round builds on

    def fetch_rows(self, reader: Reader, rules: Rules, number: int) -> Rows | None:
        """Fetch a round's rows; None where none were sealed, or what was is unusable.

        Raises BlobMissing, BlobCorrupt or Unreachable as long as they are not to be had.
        """
        if number > len(self.digests):
            return None
        if self._fetched[0] != number:
            blob = reader.store.fetch(self.digests[number - 1], MAX_SEALED_SIZE)
            try:
                self._fetched = number, decode_sealed(blob, rules.domains)
            except BadSealed:
                self._fetched = number, None
        return self._fetched[1]

    def list_missing(self, number: int) -> list[Wanted]:
        """List the round's rows, where some were sealed and not read yet."""
        is_there = number > len(self.digests) or self._fetched[0] == number
        return [] if is_there else [(self.digests[number - 1], MAX_SEALED_SIZE)]

    def score_proposals(self, case: Case, without: Collection[int] = ()) -> list[int | None]:
        """Score every slot of a round, but for slots `without` bytes that can be read; None where it cannot be done.

        Each is measured once, so that to ask ahead saves time.

        `grade` says what a score is. Who sealed the rows must not be able to keep a voter from its ballot: rows that
        this task's tokenizer or template refuses are no rows, and when their time is over, what is scored is all.
        """
        scores: list[int | None] = [None] * len(case.current.proposers)
        with suppress(TooLate), self.watch(EXAMINATION):
            for slot, score in self._score_slots(case, without):
                scores[slot] = score
        return scores

    def _score_slots(self, case: Case, without: Collection[int]) -> Iterator[tuple[int, int | None]]:
        model, current, rules = case.model, case.current, case.rules
        try:
            rows = self.fetch_rows(case.reader, rules, current.number)
        except (BlobMissing, BlobCorrupt, Unreachable):
            return
        if rows is None or not all(can_encode(model.tokenizer, group, self.settings.max_length) for group in rows):
            return
        state = case.fetch_state()
        if self._graded != (grounds := case.list_grounds()):
            self._graded, self._grades, self._start = grounds, {}, None
        updates = list_updates(case.reader, rules, current, state, without)
        clips = find_clips(state, current, updates)
        for slot, update in updates.items():
            if not case.is_own(slot):
                if slot not in self._grades:
                    self._grades[slot] = self._grade(case, rows, slot, update)
                score = self._grades[slot]
                yield slot, score if score is None else count_gain(score, clips.get(slot, Fraction(1)), rules)

    def _grade(self, case: Case, rows: Rows, slot: int, update: Update) -> int | None:
        model, state, own = case.model, case.fetch_state(), case.current.proposals[slot].domain
        if self._start is None:
            self._start = self._measure(model, rows, None), self._measure(model, rows, state)
        bare, before = self._start
        share = find_share(state.recipe, case.current, slot)
        after = self._measure(model, choose_rows(rows, own), compute_share(state, update, share))
        return grade(choose_rows(before, own), after, choose_rows(bare, own), own, case.rules)

    def _measure(self, model: Model, rows: Rows, state: GlobalState | None) -> Losses:
        """Measure the losses of a state, or of the base itself."""
        if state is None:
            model.clear()
        else:
            model.load_state(state)
        return [self._measure_domain(model, group) for group in rows]

    def _measure_domain(self, model: Model, rows: Sequence[Row]) -> list[float]:
        with self.watch("evaluation"):  # a domain at a time: a node that is to stop, or is late, is broken off between
            return list_losses(model, rows, self.settings)


def choose_rows(by_domain: Sequence[Sequence[Of]], own: int) -> list[Sequence[Of]]:
    """Choose all of a proposer's own domain, and half of the others: gains are small, while harm has to be large.

    >>> choose_rows([[1, 2, 3], [4, 5, 6]], 0)
    [[1, 2, 3], [4, 6]]
    """
    return [group if domain == own else group[::2] for domain, group in enumerate(by_domain)]


def grade(before: Losses, after: Losses, bare: Losses, domain: int, rules: Rules) -> int | None:
    """Grade an update by the rows' losses before and after it, and by the base's; None if they are no numbers.

    What it does to its own domain, or the worst that it does to any: if that is beyond the tolerance, and more than
    what its own domain gains. A lone holder's update counts for a whole domain, so all that it does is large. Where so
    few rows leave the least benefit possible, that is the score: it is merged, and earns next to nothing.
    """
    sums = [[fsum(group) for group in losses] for losses in (before, after, bare)]
    try:
        scores = [relative_score(*losses) for losses in zip(*sums, strict=True)]
    except Immeasurable:
        return None
    own_before, own_after, own_bare = (losses[domain] for losses in sums)
    if isfinite(own_after) and -rules.tolerance <= scores[domain] < rules.min_benefit:
        slack = CERTAINTY * compute_error(before[domain], after[domain])
        if relative_score(own_before + slack, own_after, own_bare) >= rules.min_benefit:
            scores[domain] = rules.min_benefit
    return choose_sealed_score(scores, domain, rules.tolerance)


def compute_error(before: Sequence[float], after: Sequence[float]) -> float:
    """Compute the standard error of the sum by which rows' losses fell; 0 for a single row, which says nothing of it.

    Who helps some rows and harms others makes it large, and so hides as much harm, up to the tolerance.

    >>> compute_error([1.0, 1.0], [0.5, 1.5]), compute_error([1.0, 1.0], [1.5, 1.5])
    (1.0, 0.0)
    """
    gains = [old - new for old, new in zip(before, after, strict=True)]
    mean = fsum(gains) / len(gains)
    spread = fsum((gain - mean) ** 2 for gain in gains) / max(1, len(gains) - 1)
    return sqrt(len(gains) * spread)
