"""The examiner: score updates on the rows that the task's creator sealed, once they are open; all see the same."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import TemplateError

from openflock.learn.data import Row
from openflock.learn.encode import encode_rows
from openflock.learn.evaluate import EvaluationSettings, Immeasurable, compute_loss, relative_score
from openflock.learn.model import Model
from openflock.learn.sealed import MAX_SEALED_SIZE, BadSealed, decode_sealed
from openflock.node.doses import list_updates
from openflock.node.reader import Reader
from openflock.node.voter import find_share
from openflock.node.watch import Watch, watch_nothing
from openflock.protocol.ballot import choose_sealed_score
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Digest, Round
from openflock.update.aggregate import compute_share
from openflock.update.fixed import GlobalState

Rows = Sequence[Sequence[Row]]  # by domain


@dataclass
class Examiner:
    """What a voter examines with: the digests of the sealed rows, one a round; rounds beyond them have none."""

    digests: Sequence[Digest]
    settings: EvaluationSettings
    watch: Watch = watch_nothing
    _fetched: tuple[int, Rows | None] = (0, None)  # of the last round asked for

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

    def score_proposals(
        self, model: Model, reader: Reader, rules: Rules, current: Round, base: Digest, me: Address
    ) -> list[int | None]:
        """Score every slot of a round that builds on the state with digest `base`; None where that cannot be done.

        `grade` says what a score is. Rows that this task's tokenizer or template refuses are no rows: who sealed them
        must not be able to keep a voter from its ballot.
        """
        scores: list[int | None] = [None] * len(current.proposers)
        try:
            rows = self.fetch_rows(reader, rules, current.number)
        except (BlobMissing, BlobCorrupt, Unreachable):
            return scores
        if rows is None or not self._can_read(model, rows):
            return scores
        state = reader.fetch_state(base)
        bare, before = self._measure(model, rows, None), self._measure(model, rows, state)
        for slot, update in list_updates(reader, rules, current, state).items():
            if current.proposers[slot].node != me:
                share = find_share(state.recipe, current, slot)
                after = self._measure(model, rows, compute_share(state, update, share))
                scores[slot] = grade(before, after, bare, current.proposals[slot].domain, rules.tolerance)
        return scores

    def _can_read(self, model: Model, rows: Rows) -> bool:
        try:
            return all(encode_rows(model.tokenizer, group, self.settings.max_length) for group in rows)
        except (ValueError, TypeError, TemplateError):
            return False

    def _measure(self, model: Model, rows: Rows, state: GlobalState | None) -> list[float]:
        """Measure the loss of a state, or of the base itself, by domain."""
        if state is None:
            model.clear()
        else:
            model.load_state(state)
        losses = []
        for group in rows:
            with self.watch("evaluation"):
                losses.append(compute_loss(model, group, self.settings))
        return losses


def grade(
    before: Sequence[float], after: Sequence[float], bare: Sequence[float], domain: int, tolerance: int
) -> int | None:
    """Grade an update by the losses of each domain before and after it, and by the base's; None if they are no numbers.

    What it does to its own domain, or the worst that it does to any: if that is beyond the tolerance, and more than
    what its own domain gains. A lone holder's update counts for a whole domain, so all that it does is large.

    >>> grade([2.0, 2.0], [1.9, 2.05], [2.0, 2.0], 0, 100), grade([2.0, 2.0], [1.9, 2.2], [2.0, 2.0], 0, 100)
    (500, -1000)
    """
    try:
        scores = [relative_score(*losses) for losses in zip(before, after, bare, strict=True)]
    except Immeasurable:
        return None
    return choose_sealed_score(scores, domain, tolerance)
