"""Compute what a round leads to: the candidate state and the near-duplicates among its accepted updates."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from openflock.protocol.ports import Blob
from openflock.protocol.recipe import Recipe, compares
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Merged, Proposal, Round
from openflock.protocol.verdict import list_accepted
from openflock.update.aggregate import stream_candidate
from openflock.update.ahead import map_ahead
from openflock.update.codec import Update, hash_stream
from openflock.update.duplicates import find_duplicates, find_stale
from openflock.update.fixed import GlobalState
from openflock.update.geometry import compute_norm, compute_products
from openflock.update.plan import AnyPlan
from openflock.update.robust import compute_grouped_plan, compute_plan
from openflock.update.trail import compare_trails

COMPARED: Final = 2  # rounds: what is older does half of what a new update does
Admit = Callable[[Proposal], Update]


@dataclass(frozen=True)
class Past:
    """An update that an earlier round merged: whose it was, and how many comparable rounds ago."""

    node: Address
    update: Update
    ago: int


@dataclass(frozen=True)
class Merge:
    """What honest voters attest: the candidate, and the word that says which updates are alike, and which are old."""

    state: GlobalState
    updates: Sequence[Update]
    plan: AnyPlan
    duplicates: int

    def stream(self) -> Iterator[Blob]:
        """Give the candidate's bytes in pieces; they can be had again."""
        return stream_candidate(self.state, self.updates, self.plan)

    def compute_digest(self) -> bytes:
        """Hash the candidate without keeping it."""
        return hash_stream(self.stream())


def list_comparable(state: GlobalState, merged: Sequence[Merged]) -> list[Merged]:
    """List the last rounds that trained what this state's next round trains, the latest first.

    The last of `merged` led to the state. As many as old updates are looked for in, or as the recipe remembers.
    """
    period = 2 if state.recipe.mode == "alternate" else 1
    return list(merged[-period::-period])[: count_recalled(state.recipe)]


def count_recalled(recipe: Recipe) -> int:
    """Count the comparable rounds whose updates a merge is compared with."""
    return max(COMPARED, recipe.memory - 1)


def compute_merge(
    rules: Rules, current: Round, state: GlobalState, admit: Admit, past: Sequence[Past], shuffle: int = 0
) -> Merge:
    """Merge the accepted updates of a judged round, weighted by seats; exact, so all nodes get the same bytes.

    `past` are the updates that comparable rounds merged: what says nothing beyond them is stale, and where the recipe
    has a memory, proposers are compared by them as well. `shuffle` seeds another order of summation, for who wants to
    see that it changes nothing.
    Raises what `admit` raises: Inadmissible if a false majority accepted what no honest node may merge.
    """
    accepted = list_accepted(current)
    updates = list(map_ahead(admit, [current.proposals[slot] for slot in accepted]))
    word = _compute_word(rules, current, state, updates, [each.update for each in past if each.ago <= COMPARED])
    # By digest: the order of appended components must not depend on who merges.
    order = sorted(range(len(accepted)), key=lambda i: (current.proposals[accepted[i]].digest, accepted[i]))
    if shuffle and state.recipe.mode != "stack":
        random.Random(shuffle).shuffle(order)
    seats, proposals = [current.proposers[accepted[i]] for i in order], [current.proposals[accepted[i]] for i in order]
    weights, nodes = [seat.weight for seat in seats], [seat.node for seat in seats]
    # By whose it is, too: with a memory the same bytes of two proposers are not compared alike.
    names = [proposal.digest + node.encode() for proposal, node in zip(proposals, nodes, strict=True)]
    updates = [updates[i] for i in order]
    products = _measure(state, updates)
    domains = [proposal.domain if state.recipe.grouping else 0 for proposal in proposals]
    earlier = _list_earlier(state, nodes, past)
    directions = compare_trails(state, updates, earlier, domains) if state.recipe.memory else None
    if not state.recipe.grouping:
        return Merge(state, updates, compute_plan(state.recipe, weights, products, names, directions), word)
    plan = compute_grouped_plan(state.recipe, weights, products, names, domains, directions)
    return Merge(state, updates, plan, word)


def _list_earlier(state: GlobalState, nodes: Sequence[Address], past: Sequence[Past]) -> list[dict[int, Update]]:
    """List what each proposer had merged in the rounds that the recipe remembers, by how long ago."""
    known = [each for each in past if each.ago < state.recipe.memory]
    return [{each.ago: each.update for each in known if each.node == node} for node in nodes]


def _compute_word(
    rules: Rules, current: Round, state: GlobalState, updates: Sequence[Update], past: Sequence[Update]
) -> int:
    accepted = list_accepted(current)
    originals = find_duplicates(state, updates, rules.duplicate_cosine)
    named = dict(zip(accepted, (accepted[position] for position in originals), strict=True))
    stale = dict(zip(accepted, find_stale(state, updates, past, rules.duplicate_cosine), strict=True))
    slots = range(len(current.proposers))
    return sum(named.get(slot, slot) << (4 * slot) | stale.get(slot, False) << (64 + slot) for slot in slots)


def _measure(state: GlobalState, updates: Sequence[Update]) -> NDArray[np.object_]:
    """Compute what the plan needs: norms to clip by, and products where this round's updates are compared."""
    if compares(state.recipe) and not state.recipe.memory:
        return compute_products(state, updates)
    norms = [compute_norm(state, update) if state.recipe.clip else 0 for update in updates]
    products = np.zeros((len(updates), len(updates)), object)
    np.fill_diagonal(products, norms)
    return products
