from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.protocol.payout import is_stale
from openflock.protocol.recipe import Recipe
from openflock.protocol.types import Judgement, Merged, Proposal, Round, Seat, Verdict
from openflock.update.admission import Inadmissible, check_admission
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import decode_state, digest, encode_state, encode_update, get_update_layout, make_update
from openflock.update.fixed import initial_state
from openflock.update.geometry import compute_products
from openflock.update.merge import Past, compute_merge, list_comparable
from openflock.update.robust import compute_grouped_plan, compute_plan

from ..protocol.helpers import make_rules
from .examples import SMALL, plan_mean

RULES = make_rules(norm_ceiling=2**40)
GOOD, BAD = Verdict.PAID, Verdict.HARMFUL
PLAIN, STACK, CLIP = Recipe(), Recipe("stack"), Recipe(clip=1000)
KRUM = Recipe(aggregator="krum", faulty=300)
GROUPED = Recipe(grouping=1000, aggregator="trimmed_mean", faulty=400, clip=1000)
REMEMBERING = replace(KRUM, memory=4, clip=1000)
RECIPES = [PLAIN, STACK, CLIP, KRUM, Recipe("stack", clip=500), Recipe(aggregator="median", mixing=True, faulty=200),
           Recipe("ffa", "ternary", optimizer="nesterov", momentum=2**15), GROUPED,
           REMEMBERING, replace(GROUPED, mixing=True, memory=2, clip=1000)]  # fmt: skip


def start(recipe):
    return initial_state(SMALL, b"merge", recipe)


def draw_update(seed, recipe=PLAIN, size=2**20):
    """An update drawn from a seed; odd seeds stack one component less."""
    state, chance = start(recipe), np.random.default_rng(seed)
    layout = get_update_layout(state, 2 - seed % 2)
    delta = {f: chance.integers(-size, size, layout.compute_size(f), endpoint=True) for f in state.trained}
    return make_update(state, delta)


def merge(seeds, verdicts=None, weights=None, shuffle=0, rules=RULES, recipe=PLAIN, domains=None, past=()):
    """Merge updates drawn from seeds, one a slot (None: nothing published)."""
    blobs = {slot: encode_update(draw_update(seed, recipe)) for slot, seed in enumerate(seeds) if seed is not None}
    domains = domains or [seed and seed % 2 for seed in seeds]
    proposals = {slot: Proposal(digest(blob), len(blob), domains[slot]) for slot, blob in blobs.items()}
    weights = weights or [1] * len(seeds)
    seats = tuple(Seat(f"0x{slot:040x}", weight) for slot, weight in enumerate(weights))
    given = verdicts or [GOOD if seed is not None else Verdict.NONE for seed in seeds]
    current = Round(1, proposers=seats, proposals=proposals, judgements=tuple(map(Judgement, given)))
    found, state = {digest(blob): blob for blob in blobs.values()}, start(recipe)

    def admit(proposal):
        return check_admission(state, found[proposal.digest], rules.norm_ceiling)

    return compute_merge(rules, current, state, admit, past, shuffle)


def read_word(word, slots):
    return [word >> 4 * slot & 15 for slot in range(slots)]


def test_the_candidate_is_the_weighted_mean_of_what_was_accepted():
    merged = merge([1, 2, 3], [GOOD, BAD, Verdict.UNPAID], [5, 9, 7])
    wanted = compute_candidate(start(PLAIN), [draw_update(1), draw_update(3)], plan_mean(PLAIN, [5, 7]))
    assert b"".join(merged.stream()) == encode_state(wanted)
    assert merged.compute_digest() == digest(encode_state(wanted))
    assert decode_state(b"".join(merged.stream())).step == 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 2**32), st.sampled_from(RECIPES), st.data())
def test_no_order_of_summation_changes_a_bit(seeds, shuffle, recipe, data):
    weights = data.draw(st.lists(st.integers(1, 2**88), min_size=len(seeds), max_size=len(seeds)))
    past = map_past(data.draw(st.lists(st.integers(6, 9), max_size=len(seeds))), recipe)  # equal updates, other pasts
    one, other = (merge(seeds, weights=weights, recipe=recipe, shuffle=each, past=past) for each in (0, shuffle))
    assert b"".join(one.stream()) == b"".join(other.stream())
    assert one.compute_digest() == other.compute_digest()
    assert one.duplicates == other.duplicates


def test_the_same_bytes_of_proposers_with_different_pasts_are_in_no_order_either():
    """Which of two equal updates comes first decides how weights round, where they are compared differently."""
    recipe, weights = replace(GROUPED, mixing=True, memory=2, clip=1000), [467753493314, 344123573298, 3]
    past = [replace(each, ago=1) for each in map_past([9, 6, 7], recipe)]
    one, other = (merge([2, 2, 0], weights=weights, recipe=recipe, shuffle=each, past=past) for each in (0, 8))
    assert one.compute_digest() == other.compute_digest()


@given(st.permutations([0, 1, 2, 3]), st.sampled_from(RECIPES))
@settings(max_examples=50)
def test_no_order_of_slots_changes_the_candidate(seeds, recipe):
    weights = {0: 5, 1: 2, 2: 9, 3: 2}
    found = merge(seeds, weights=[weights[seed] for seed in seeds], recipe=recipe)
    assert found.compute_digest() == merge([*weights], weights=[*weights.values()], recipe=recipe).compute_digest()


def test_stacked_components_stand_in_the_order_of_their_digests():
    for seeds in permutations([1, 2, 4]):
        merged = merge(seeds, recipe=STACK)
        wanted = sorted(digest(encode_update(draw_update(seed, STACK))) for seed in seeds)
        assert [digest(encode_update(update)) for update in merged.updates] == wanted
        candidate = decode_state(b"".join(merged.stream()))
        assert candidate.layout.width == 1 + 2 + 2
        first = candidate.get_factor("A")["a.k"][: merged.updates[0].layout.width]
        assert first.ravel().tolist() == merged.updates[0].read("A", 0, first.size).tolist()


@pytest.mark.parametrize("recipe", [CLIP, KRUM, replace(STACK, clip=1000)])
def test_rules_that_measure_updates_are_given_what_the_updates_do(recipe):
    seeds, state = [1, 2, 4], start(recipe)
    merged = merge(seeds, weights=[3, 1, 2], recipe=recipe)
    drawn = sorted((digest(encode_update(u)), w, u) for u, w in zip(map_updates(seeds, recipe), (3, 1, 2), strict=True))
    updates = [update for _, _, update in drawn]
    products = compute_products(state, updates)
    wanted = compute_plan(recipe, [weight for _, weight, _ in drawn], products, [name for name, _, _ in drawn])
    assert merged.plan == wanted
    assert merged.compute_digest() == digest(encode_state(compute_candidate(state, updates, wanted)))


def test_updates_are_merged_among_those_of_the_domain_in_which_they_were_proposed():
    seeds, domains, weights = [1, 2, 4, 5, 7], [3, 0, 3, 3, 9], [2, 1, 2, 2, 5]
    merged = merge(seeds, weights=weights, recipe=GROUPED, domains=domains)
    updates, names = map_updates(seeds, GROUPED), [digest(encode_update(u)) for u in map_updates(seeds, GROUPED)]
    products = compute_products(start(GROUPED), updates)
    wanted = compute_grouped_plan(GROUPED, weights, products, names, domains)
    assert merged.compute_digest() == digest(encode_state(compute_candidate(start(GROUPED), updates, wanted)))
    assert merged.compute_digest() != merge(seeds, weights=weights, recipe=GROUPED).compute_digest()


def map_past(seeds, recipe):
    """Updates that earlier rounds merged, slot by slot of the same nodes."""
    return [Past(f"0x{slot:040x}", update, 1 + slot % 2) for slot, update in enumerate(map_updates(seeds, recipe))]


def map_updates(seeds, recipe):
    return [draw_update(seed, recipe) for seed in seeds]


def test_a_clipped_giant_moves_the_merge_no_further_than_the_median():
    state = start(CLIP)
    small, giant = draw_update(2, CLIP, 2**10), draw_update(4, CLIP, 2**24)
    blobs = {digest(blob): blob for blob in map(encode_update, (small, giant))}
    proposals = {slot: Proposal(name, len(blob)) for slot, (name, blob) in enumerate(blobs.items())}
    current = Round(
        1, proposers=(Seat("a", 2), Seat("b", 1)), proposals=proposals, judgements=(Judgement(GOOD), Judgement(GOOD))
    )
    merged = compute_merge(
        RULES, current, state, lambda proposal: check_admission(state, blobs[proposal.digest], 2**40), []
    )
    moved = decode_state(b"".join(merged.stream())).factors["B"]
    assert 0 < np.abs(moved).max() <= 2**11
    plain = compute_candidate(state, [small, giant], plan_mean(PLAIN, [2, 1])).factors["B"]
    assert np.abs(plain).max() > 2**20


def test_the_word_names_each_slots_first_near_duplicate():
    merged = merge([4, 1, 4, 1, 2, None, 4])
    assert read_word(merged.duplicates, 7) == [0, 1, 0, 1, 4, 5, 0]


def test_what_was_rejected_is_nobodys_original():
    merged = merge([4, 4, 4], [BAD, GOOD, GOOD])
    assert read_word(merged.duplicates, 3) == [0, 1, 1]


def test_sixteen_slots_fit_the_word():
    merged = merge([*range(15), 0])
    assert read_word(merged.duplicates, 16) == [*range(15), 0]
    assert merged.duplicates < 2**64


def test_nothing_is_stale_by_what_only_a_memory_looks_back_at():
    past = [replace(each, ago=3) for each in map_past([1, 2, 4], REMEMBERING)]
    assert merge([1, 2, 4], recipe=REMEMBERING, past=past).duplicates < 2**64


@pytest.mark.parametrize("recipe", [PLAIN, STACK, KRUM])
def test_what_was_merged_before_is_called_stale_and_merged_all_the_same(recipe):
    seeds, verdicts, past = [1, 2, 4, 5, 2], [GOOD, GOOD, BAD, Verdict.UNPAID, GOOD], map_past([2, 4, 5], recipe)
    merged, fresh = (merge(seeds, verdicts, recipe=recipe, past=each) for each in (past, []))
    assert [slot for slot in range(5) if is_stale(merged.duplicates, slot)] == [1, 3, 4]
    assert merged.duplicates % 2**64 == fresh.duplicates
    assert fresh.duplicates < 2**64
    assert merged.compute_digest() == fresh.compute_digest()


@pytest.mark.parametrize(
    ("recipe", "wanted"),
    [(PLAIN, [4, 2]), (Recipe("ffa"), [5, 4]), (STACK, [5, 4]), (replace(KRUM, memory=2, clip=1000), [4, 2]),
     (REMEMBERING, [4, 2, 0]), (replace(REMEMBERING, mode="separate"), [5, 4, 3])],
)  # fmt: skip
def test_comparable_are_the_last_rounds_that_trained_the_same(recipe, wanted):
    merged = [Merged(bytes([number]), (), ()) for number in range(6)]
    state = start(recipe)
    assert list_comparable(state, merged) == [merged[number] for number in wanted]
    assert list_comparable(state, merged[:1]) == ([] if recipe.mode == "alternate" else merged[:1])
    assert list_comparable(state, []) == []


def test_shuffling_names_the_same_duplicates():
    assert {merge([4, 1, 4, 1], shuffle=shuffle).duplicates for shuffle in range(20)} == {0x1010}


def test_what_a_false_majority_accepted_is_not_merged():
    with pytest.raises(Inadmissible, match="norm"):
        merge([1], rules=make_rules(norm_ceiling=1))
