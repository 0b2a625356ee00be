"""The searcher: look at all updates of a round for what they push, and hunt for the insertion in one of them.

Each honest node looks with rows and chance of its own and hunts in one suspicious update; one true witness is enough,
since all voters re-test it. What it costs, beside a voter's evaluation, is in docs/decisions/0018.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from openflock.learn.crew import count_crew
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.model import Model
from openflock.learn.probe import Clue, is_upheld
from openflock.learn.search import Hunt, SearchSettings, find_target, insert_words, pick_rows, predict
from openflock.node.doses import dose_updates
from openflock.node.reader import Reader
from openflock.node.watch import Watch, watch_nothing
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Digest, Round
from openflock.update.aggregate import compute_dosed
from openflock.update.codec import Update
from openflock.update.fixed import GlobalState
from openflock.update.robust import find_median

SUSPICIOUS: Final = 1.2  # times the round's lower median, by weight, of what updates push


@dataclass(frozen=True)
class Searcher:
    """What a node searches with: the rows that it judges by."""

    rows: Sequence[Row]
    settings: EvaluationSettings
    search: SearchSettings = field(default_factory=SearchSettings)
    watch: Watch = watch_nothing

    def accuse(
        self, model: Model, reader: Reader, rules: Rules, current: Round, base: Digest, me: Address, seed: bytes
    ) -> tuple[int, Clue] | None:
        """Find a slot and a witness against it that this node itself upholds, on rows that the search did not see.

        `seed` must be secret: who knows it knows which update nobody hunts in.
        """
        draw, picked = random.Random(seed), pick_rows(self.rows, self.search.rows)
        unseen = [row for row in self.rows if row not in picked]
        if count_crew() > 1 or not unseen or len(picked) < self.search.hunted:
            return None
        state = reader.fetch_state(base)
        dosed = dose_updates(reader, rules, current, state)
        others = {slot: dose for slot, dose in dosed.items() if current.proposers[slot].node != me}
        pushed = self._look(model, state, others, picked, draw)
        weights = {slot: current.proposers[slot].weight for slot in pushed}
        slot = choose_suspect({slot: gain for slot, (gain, _) in pushed.items()}, weights, draw)
        if slot is None:
            return None
        with self.watch("probe"):
            after = compute_dosed(state, *dosed[slot])
            model.load_state(after)
            clue = Hunt(model, picked[: self.search.hunted], self.search, draw).run(pushed[slot][1])
        with self.watch("probe"):
            is_true = clue is not None and is_upheld(model, state, after, unseen, clue, self.settings)
        return (slot, clue) if clue and is_true else None

    def _look(
        self,
        model: Model,
        state: GlobalState,
        dosed: Mapping[int, tuple[Update, Fraction]],
        rows: Sequence[Row],
        draw: random.Random,
    ) -> dict[int, tuple[float, int]]:
        """Give by slot how much an update pushes the token that it pushes most, and the token."""
        odd, pushed = insert_words(rows, draw), {}
        with self.watch("probe"):
            model.load_state(state)
            before = predict(model, odd, self.settings.max_length)
        for slot, (update, dose) in dosed.items():
            with self.watch("probe"):
                model.load_state(compute_dosed(state, update, dose))
                pushed[slot] = find_target(before, predict(model, odd, self.settings.max_length))
        return pushed


def choose_suspect(gains: Mapping[int, float], weights: Mapping[int, int], draw: random.Random) -> int | None:
    """Choose, by lot, an update that pushes an answer more than most; none if half of the weight would be one.

    All by weight: many names of little stake must not say what is usual, nor how many are suspect, nor draw the lot.

    >>> choose_suspect({0: 1.0, 1: 1.1, 2: 3.0}, {0: 1, 1: 1, 2: 1}, random.Random(0))
    2
    """
    if not gains:
        return None
    usual = find_median([weights[slot] for slot in gains], list(gains.values()))
    suspects = [slot for slot, gain in sorted(gains.items()) if gain > max(0.0, SUSPICIOUS * usual)]
    held = [weights[slot] for slot in suspects]
    many = 2 * sum(held) >= sum(weights[slot] for slot in gains)
    return None if not suspects or many else draw.choices(suspects, held)[0]
