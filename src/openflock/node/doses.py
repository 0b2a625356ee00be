"""At which dose each update is looked at for a backdoor: all at the same length, some times the round's median.

A backdoor that keeps to the others' length shows when it is amplified; a boosted one, which breaks the model where it
counts whole, shows when it is not. Lengths are exact, so all who could fetch the same updates agree on the doses. The
median is by weight: many names of little stake must not choose the length at which an honest update is tested.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Final

from openflock.learn.probe import WHOLE
from openflock.node.reader import Reader
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.rules import Rules
from openflock.protocol.types import Round
from openflock.update.admission import Inadmissible
from openflock.update.aggregate import compute_dosed
from openflock.update.codec import Update
from openflock.update.fixed import GlobalState
from openflock.update.geometry import compute_norm
from openflock.update.robust import find_median

LENGTH: Final = 4  # times the round's lower median length
LARGEST: Final = 256


@dataclass(frozen=True)
class Dosed:
    """An update, the state that it would move, and the dose at which it is looked at."""

    state: GlobalState
    update: Update
    dose: Fraction

    def move(self, share: Fraction = WHOLE) -> GlobalState:
        """Compute the state moved by a share of the dose."""
        return compute_dosed(self.state, self.update, self.dose * share) if share else self.state


def list_updates(
    reader: Reader, rules: Rules, current: Round, state: GlobalState, without: Collection[int] = ()
) -> dict[int, Update]:
    """List by slot the updates of a round that can be had and are admissible; `without` slots that are known not to."""
    admitted = {}
    for slot, proposal in sorted(current.proposals.items()):
        if slot in without:
            continue
        try:
            admitted[slot] = reader.admit(state, proposal, rules.norm_ceiling)
        except (BlobMissing, BlobCorrupt, Unreachable, Inadmissible):
            continue
    return admitted


def compute_doses(norms: Mapping[int, int], weights: Mapping[int, int]) -> dict[int, Fraction]:
    """Compute doses from squared norms and weights, by slot; what moves nothing has none.

    >>> compute_doses({0: 9, 1: 36, 2: 0, 3: 9}, {0: 1, 1: 1, 2: 5, 3: 1})
    {0: Fraction(4, 1), 1: Fraction(2, 1), 3: Fraction(4, 1)}
    """
    lengths = {slot: isqrt(norm) for slot, norm in norms.items() if norm}
    if not lengths:
        return {}
    median = find_median([weights[slot] for slot in lengths], list(lengths.values()))
    return {slot: min(Fraction(LARGEST), Fraction(LENGTH * median, length)) for slot, length in lengths.items()}


def dose_updates(
    reader: Reader, rules: Rules, current: Round, state: GlobalState, without: Collection[int] = ()
) -> dict[int, Dosed]:
    """Give by slot the updates of a round that can be looked at, with their doses; `without` slots known not to."""
    admitted = list_updates(reader, rules, current, state, without)
    norms = {slot: compute_norm(state, update) for slot, update in admitted.items()}
    doses = compute_doses(norms, {slot: current.proposers[slot].weight for slot in admitted})
    return {slot: Dosed(state, admitted[slot], dose) for slot, dose in doses.items()}
