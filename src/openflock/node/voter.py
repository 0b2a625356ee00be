"""The voter: admit, evaluate on private rows, mark each proposal, and attest what the marks lead to."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings, Immeasurable, compute_loss, relative_score
from openflock.learn.model import Model
from openflock.learn.probe import is_upheld
from openflock.node.case import Case
from openflock.node.doses import Dosed, dose_updates, list_updates
from openflock.node.hearing import read_clues
from openflock.node.notebook import Notebook
from openflock.node.pace import TooLate
from openflock.node.reader import Reader
from openflock.node.shares import count_gain, find_clips, find_share
from openflock.node.watch import PROBE, Watch, watch_nothing
from openflock.protocol.ballot import Mark
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.rules import Rules
from openflock.protocol.types import Digest, Flag, Merged, Proposal, Round, Witness
from openflock.update.admission import Inadmissible
from openflock.update.aggregate import compute_share
from openflock.update.codec import Update, get_digest
from openflock.update.fixed import GlobalState
from openflock.update.merge import Merge, compute_merge

UNREADABLE: Final = Flag.UNAVAILABLE | Flag.INADMISSIBLE


@dataclass
class Voter:
    """What a voter judges with: rows of its own that no proposer has seen."""

    rows: Sequence[Row]
    settings: EvaluationSettings
    shuffle: int = 0  # seed of the order in which updates are summed
    watch: Watch = watch_nothing
    notebook: Notebook | None = None  # of its node; one without knows no insertion, and trains against none
    _losses: dict[Digest, float] = field(default_factory=dict)
    _base_loss: float = 0.0  # once measured
    _marks: dict[int, Mark] = field(default_factory=dict)  # by slot, as far as the case of `_marked` was judged
    _marked: object = None  # its grounds

    def mark_ahead(self, case: Case) -> None:
        """Mark what can be read already, so that an update that trickles in takes no time from the others."""
        for slot in range(len(case.current.proposers)):
            self._recall_mark(case, slot)

    def mark_proposals(self, case: Case) -> list[Mark]:
        """Mark every slot of a round; suspects are flagged apart (`flag_suspects`)."""
        marks = [self._recall_mark(case, slot) for slot in range(len(case.current.proposers))]
        for slot, clip in self._find_clips(case, marks).items():
            marks[slot] = replace(marks[slot], score=count_gain(marks[slot].score, clip, case.rules))
        return marks

    def flag_suspects(self, case: Case, marks: Sequence[Mark]) -> list[Mark]:
        """Flag among its marks the slots against which a witness holds here.

        The last work of a ballot, since whoever accuses can make much of it: when its time is over, what was not tested
        yet is not flagged, and the ballot is sent all the same. The dearest witnesses are tested first.
        """
        flagged = list(marks)
        with suppress(TooLate):
            for slot in self._find_suspects(case, list_unreadable(marks)):
                flagged[slot] = replace(marks[slot], flags=marks[slot].flags | Flag.SUSPECT)
        return flagged

    def _find_clips(self, case: Case, marks: Sequence[Mark]) -> Mapping[int, Fraction]:
        """Find by slot what the clip would leave of a length; what could not be had is not asked for again."""
        if not case.current.proposals:
            return {}
        state, without = case.fetch_state(), list_unreadable(marks)
        return find_clips(state, case.current, list_updates(case.reader, case.rules, case.current, state, without))

    def _find_suspects(self, case: Case, without: Collection[int]) -> Iterator[int]:
        """Find the slots against which a witness holds here; one that cannot be read or tested proves nothing."""
        current, found = case.current, set[int]()
        if not current.witnesses:
            return
        dosed = dose_updates(case.reader, case.rules, current, case.fetch_state(), without)
        said = [(slot, each) for slot, witnesses in current.witnesses.items() for each in witnesses]
        for slot, witness in sorted(said, key=lambda pair: -pair[1].bond):
            is_open = slot in dosed and slot not in found and not case.is_own(slot)
            if is_open and self._uphold(case, dosed[slot], witness):
                found.add(slot)
                yield slot

    def _recall_mark(self, case: Case, slot: int) -> Mark:
        """Mark a slot, once in a round; what could not be had is asked for again."""
        if self._marked != (grounds := case.list_grounds()):
            self._marked, self._marks = grounds, {}
        mark = self._marks.get(slot) or self._mark_slot(case, slot)
        if not mark.flags & Flag.UNAVAILABLE:
            self._marks[slot] = mark
        return mark

    def _mark_slot(self, case: Case, slot: int) -> Mark:
        current = case.current
        if case.is_own(slot) or slot not in current.proposals:
            return Mark(flags=Flag.ABSTAIN)
        state = case.fetch_state()
        try:
            update = case.reader.admit(state, current.proposals[slot], case.rules.norm_ceiling)
        except (BlobMissing, BlobCorrupt, Unreachable):
            return Mark(flags=Flag.UNAVAILABLE)
        except Inadmissible:
            return Mark(flags=Flag.INADMISSIBLE)
        after = compute_share(state, update, find_share(state.recipe, current, slot))
        try:
            return Mark(self._score(case.model, state, case.base, after))
        except Immeasurable:
            return Mark(flags=Flag.ABSTAIN)

    def _uphold(self, case: Case, dosed: Dosed, witness: Witness) -> bool:
        with self.watch(PROBE):  # before the blob is asked for: one that is nowhere takes its time, too
            for clue in read_clues(case.reader.store, [witness]):
                if is_upheld(case.model, dosed.move, self.rows, clue, self.settings):
                    if self.notebook:
                        self.notebook.note(clue, tested=True)
                    return True
        return False

    def merge(self, reader: Reader, rules: Rules, current: Round, base: Digest, merged: Sequence[Merged] = ()) -> Merge:
        """Merge what was accepted, after the rounds `merged`; raises BlobMissing, BlobCorrupt or Inadmissible."""
        state = reader.fetch_state(base)
        past = reader.recall(state, merged)

        def admit(proposal: Proposal) -> Update:
            return reader.admit(state, proposal, rules.norm_ceiling)

        return compute_merge(rules, current, state, admit, past, self.shuffle)

    def is_harmful(self, model: Model, reader: Reader, rules: Rules, base: Digest, candidate: GlobalState) -> bool:
        """Say whether to veto a merge: updates harmless alone can be harmful in sum; what cannot be said is no veto."""
        before, after = self._measure(model, reader.fetch_state(base), base), self._evaluate(model, candidate)
        self._losses = {base: before, get_digest(candidate): after}  # the next round begins with one of the two
        try:
            return relative_score(before, after, self._measure_base(model)) < -rules.tolerance
        except Immeasurable:
            return False

    def _score(self, model: Model, before: GlobalState, base: Digest, after: GlobalState) -> int:
        """Score a state against the one it would replace: by how much of the base's loss this voter's rows gain."""
        measured = self._measure(model, before, base)
        return relative_score(measured, self._evaluate(model, after), self._measure_base(model))

    def _measure(self, model: Model, state: GlobalState, digest: Digest) -> float:
        """Give the loss of a state that many are compared with; measured once."""
        if digest not in self._losses:
            self._losses = {digest: self._evaluate(model, state)}
        return self._losses[digest]

    def _measure_base(self, model: Model) -> float:
        """Give the loss of the base itself; measured once."""
        if not self._base_loss:
            with self.watch("evaluation"):
                model.clear()
                self._base_loss = compute_loss(model, self.rows, self.settings)
        return self._base_loss

    def _evaluate(self, model: Model, state: GlobalState) -> float:
        with self.watch("evaluation"):
            model.load_state(state)
            return compute_loss(model, self.rows, self.settings)


def list_unreadable(marks: Sequence[Mark]) -> list[int]:
    """List the slots whose bytes could not be had, or not be read; they are not asked for again in a round."""
    return [slot for slot, mark in enumerate(marks) if mark.flags & UNREADABLE]
