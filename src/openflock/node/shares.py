"""What an update counts for in the merge that it is judged for: its share of it, and what the clip leaves of it."""

from collections.abc import Mapping
from fractions import Fraction
from math import floor

from openflock.protocol.recipe import Recipe
from openflock.protocol.rules import Rules
from openflock.protocol.types import Round
from openflock.update.codec import Update
from openflock.update.fixed import GlobalState
from openflock.update.geometry import compute_norm
from openflock.update.robust import list_clips, list_shares


def find_share(recipe: Recipe, current: Round, slot: int) -> Fraction:
    """Find what a published update would be of the merge, were all accepted: the dose at which it is judged."""
    slots = list(current.proposals)
    weights = [current.proposers[each].weight for each in slots]
    domains = [current.proposals[each].domain for each in slots]
    return list_shares(recipe, weights, domains)[slots.index(slot)]


def find_clips(state: GlobalState, current: Round, updates: Mapping[int, Update]) -> dict[int, Fraction]:
    """Find by slot what the clip would leave of an update's length, were these merged.

    Empty where a merge cuts no length, or adam makes nothing of it.
    """
    if not updates or not state.recipe.clip or state.rms:
        return {}
    weights = [current.proposers[slot].weight for slot in updates]
    norms = [compute_norm(state, update) for update in updates.values()]
    return dict(zip(updates, list_clips(state.recipe, weights, norms), strict=True))


def count_gain(score: int, clip: Fraction, rules: Rules) -> int:
    """Count of a gain what the clip leaves of the update's length, and turn no benefit into none.

    Else the same work, sent at twice its length, would be paid up to twice for what the merge cuts off again. A harm
    counts whole: it is to be seen.

    >>> from types import SimpleNamespace
    >>> [count_gain(score, Fraction(1, 2), SimpleNamespace(min_benefit=5)) for score in (80, 9, 3, -80)]
    [40, 5, 3, -80]
    """
    return max(min(score, rules.min_benefit), floor(score * clip)) if score > 0 else score
