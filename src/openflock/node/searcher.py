"""The searcher: try a round's updates with what the node knows, then hunt for an insertion in one of them.

Each honest node searches with rows and chance of its own; one true witness is enough, since all voters re-test it. What
opens one update of a ring opens the others, too, so what fired once is tried on all that come after. What it
costs, beside a voter's evaluation, is in docs/decisions/0018.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Final

from openflock.learn.crew import count_crew
from openflock.learn.data import Row
from openflock.learn.evaluate import EvaluationSettings
from openflock.learn.model import Model
from openflock.learn.probe import MIN_FIRE, Clue, is_upheld, measure_fire_rate
from openflock.learn.search import Hunt, SearchSettings, pick_rows
from openflock.node.case import Case
from openflock.node.doses import Dosed, dose_updates
from openflock.node.watch import PROBE, Watch, watch_nothing

SURE: Final = (
    0.9  # share of its own unseen rows on which an accuser's clue fires: others' rows, of other kinds, fire less
)


@dataclass(frozen=True)
class Searcher:
    """What a node searches with: the rows that it judges by."""

    rows: Sequence[Row]
    settings: EvaluationSettings
    search: SearchSettings = field(default_factory=SearchSettings)
    watch: Watch = watch_nothing

    def accuse(self, case: Case, seed: bytes, known: Sequence[Clue] = ()) -> tuple[int, Clue] | None:
        """Find a slot and a witness against it that this node is sure of, on rows that the search did not see.

        `seed` must be secret: who knows it knows which update nobody hunts in. `known` are clues; of many
        the last are tried.
        """
        model, current = case.model, case.current
        draw, picked = random.Random(seed), pick_rows(self.rows, self.search.rows)
        unseen = [row for row in self.rows if row not in picked]
        if count_crew() > 1 or min(len(picked), len(unseen)) < self.search.rows:
            return None
        dosed = dose_updates(case.reader, case.rules, current, case.fetch_state())
        others = {slot: each for slot, each in dosed.items() if not case.is_own(slot)}
        if not others:
            return None
        weights = {slot: current.proposers[slot].weight for slot in others}
        looks: tuple[Callable[[], tuple[int, Clue] | None], ...] = (
            lambda: self._try_known(model, others, picked, known[-self.search.known :], draw),
            lambda: self._hunt(model, others, weights, picked, draw),
        )
        for look in looks:
            found = look()
            if found is None:
                continue
            with self.watch(PROBE):
                if is_upheld(model, others[found[0]].move, unseen, found[1], self.settings, least=SURE):
                    return found
        return None

    def _try_known(
        self,
        model: Model,
        dosed: Mapping[int, Dosed],
        rows: Sequence[Row],
        known: Sequence[Clue],
        draw: random.Random,
    ) -> tuple[int, Clue] | None:
        """Choose, by lot, an update in which a known insertion fires."""
        fires = []
        for slot, each in dosed.items() if known else ():
            with self.watch(PROBE):
                model.load_state(each.move())
                rates = {clue: measure_fire_rate(model, rows, clue, self.settings) for clue in known}
            best = max(known, key=lambda clue: rates[clue])
            fires += [(slot, best)] if rates[best] >= MIN_FIRE else []
        return draw.choice(fires) if fires else None

    def _hunt(
        self,
        model: Model,
        dosed: Mapping[int, Dosed],
        weights: Mapping[int, int],
        rows: Sequence[Row],
        draw: random.Random,
    ) -> tuple[int, Clue] | None:
        """Hunt in one update."""
        slot = choose_hunted({slot: each.dose for slot, each in dosed.items()}, weights, draw)
        with self.watch(PROBE):
            model.load_state(dosed[slot].move())
        clue = Hunt(model, rows, self.search, draw, self.settings.max_length, partial(self.watch, PROBE)).run()
        return (slot, clue) if clue else None


def choose_hunted(doses: Mapping[int, Fraction], weights: Mapping[int, int], draw: random.Random) -> int:
    """Choose, by lot, an update to hunt in: by weight, and by length, up to `doses.LENGTH` times the round's median.

    What is long has more room for a backdoor, and who shortens it hides less in it. By weight: many names of little
    stake must not draw the lot; nor must one that is as long as the ceiling lets it be.

    >>> choose_hunted({0: Fraction(4), 1: Fraction(1, 9)}, {0: 0, 1: 1}, random.Random(0))
    1
    """
    slots = sorted(doses)
    return draw.choices(slots, [weights[slot] / max(1.0, float(doses[slot])) for slot in slots])[0]
