from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openflock.arena.defences import DEFENCES, BadProposals, Proposals
from openflock.arena.defences.filters import clip_and_noise, compute_foolsgold, find_majority_cluster
from openflock.arena.defences.proposals import find_median
from openflock.arena.defences.votes import compute_flock_votes
from openflock.protocol.recipe import Recipe
from openflock.update.plan import combine
from openflock.update.robust import compute_plan

EXACT = ("mean", "median", "trimmed_mean", "krum", "multi_krum", "geometric_median")
SHARES = [0.1, 0.2, 0.25, 0.3, 0.45]


def make_proposals(seed=0, count=10, size=40, faulty=0.3, bad=3, **fields):
    """Honest updates around one direction, and `bad` of another, with whatever any defence asks for."""
    draw = np.random.default_rng(seed)
    updates = 1 + draw.normal(size=(count, size))
    updates[:bad] -= 4
    malicious = np.arange(count) < bad
    scores = np.where(malicious, -0.5, 0.1) + 0.01 * draw.normal(size=(7, count))
    return Proposals(
        updates=updates,
        weights=np.ones(count),
        faulty=faulty,
        root=np.ones(size),
        scores=scores,
        voters=np.ones(7),
        judge=lambda delta: np.full(7, delta.mean()),
        malicious=malicious,
        **fields,
    )


def merge(name, proposals, **fields):
    return DEFENCES[name](replace(proposals, **fields))


cases = st.builds(
    make_proposals,
    seed=st.integers(0, 999),
    count=st.integers(4, 11),
    size=st.integers(1, 5),
    faulty=st.sampled_from(SHARES),
    bad=st.integers(0, 3),
)


# What holds for all


@pytest.mark.parametrize("name", DEFENCES)
@pytest.mark.parametrize("bomb", [np.nan, np.inf, -np.inf, 1e200])
def test_an_update_that_is_not_finite_is_rejected_before_anything_else(name, bomb):
    proposals = make_proposals()
    updates = np.vstack([proposals.updates[:4], proposals.updates[:1], proposals.updates[4:]])
    updates[4, 3] = bomb
    bombed = replace(
        proposals,
        updates=updates,
        weights=np.ones(11),
        scores=np.insert(proposals.scores, 4, 1.0, axis=1),
        malicious=np.insert(proposals.malicious, 4, True),
    )
    without, merged = DEFENCES[name](proposals), DEFENCES[name](bombed)
    assert (merged.delta == without.delta).all()
    assert np.delete(merged.accepted, 4).tolist() == without.accepted.tolist()
    assert not merged.accepted[4]
    assert not merged.slashed[4]


@pytest.mark.parametrize("name", DEFENCES)
def test_where_nothing_is_left_nothing_moves(name):
    merged = merge(name, make_proposals(), updates=np.full((10, 40), np.nan))
    assert not merged.delta.any()
    assert not merged.accepted.any()


@pytest.mark.parametrize("name", DEFENCES)
def test_one_proposal_alone_can_be_merged_and_none_that_moves_nothing_breaks_a_rule(name):
    one = make_proposals(count=1, bad=0)
    assert np.isfinite(DEFENCES[name](one).delta).all()
    still = merge(name, make_proposals(), updates=np.zeros((10, 40)))
    assert not still.delta.any()


@pytest.mark.parametrize("name", DEFENCES)
def test_the_input_is_left_alone(name):
    proposals = make_proposals()
    before = proposals.updates.copy()
    DEFENCES[name](proposals)
    assert (proposals.updates == before).all()


@pytest.mark.parametrize("name", sorted(DEFENCES.keys() - {"mean", "random_filter", "clip_and_noise", "flock_game"}))
def test_a_loud_minority_is_kept_out(name):
    merged = merge(name, make_proposals(bad=2), updates=make_proposals(bad=2).updates * ([[20]] * 2 + [[1]] * 8))
    assert 0 < merged.delta.mean() < 2


def test_shapes_that_do_not_fit_are_named():
    for fields in ({"weights": np.ones(3)}, {"weights": np.zeros(10)}, {"updates": np.ones(10)}):
        with pytest.raises(BadProposals, match="positive weights"):
            merge("mean", make_proposals(), **fields)
    with pytest.raises(BadProposals, match=r"faulty is 0\.5"):
        merge("krum", make_proposals(), faulty=0.5)
    for name, lacks in (
        ("fltrust", "root"),
        ("clean_loss_vote", "scores"),
        ("flock_game", "judge"),
        ("oracle_filter", "malicious"),
    ):
        with pytest.raises(BadProposals, match=f"needs {lacks}"):
            merge(name, make_proposals(), **{lacks: None})


# Beside the exact rules


@given(st.sampled_from(EXACT), cases, st.data())
@settings(deadline=None)
def test_a_rule_in_floats_merges_integers_as_the_exact_one_does(name, proposals, data):
    updates = np.rint(proposals.updates * 2**18)
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(updates), max_size=len(updates)))
    recipe = Recipe(aggregator=name, faulty=round(1000 * proposals.faulty))
    exact_updates = updates.astype(int).astype(object)
    plan = compute_plan(recipe, weights, exact_updates @ exact_updates.T, [bytes([k]) for k in range(len(weights))])
    merged = merge(name, proposals, updates=updates, weights=np.array(weights, float))
    exact = combine(plan, updates)
    # The exact one rounds the weights by which it sorts to 1 / 2**13, and the geometric median's shares to 2**-24.
    near = 2**18 * 40 / 2**13 if name == "trimmed_mean" else 2
    if name == "geometric_median" and updates.shape[1] == 1:
        # On a line the middle two of an even number leave a flat stretch, and any point of it is a median: compared is
        # what a median makes least. Elsewhere it rises by a weight, at least one, for each step aside.
        found, wanted = (
            (np.abs(updates - point) * np.array(weights)[:, None]).sum() for point in (merged.delta, exact)
        )
        assert found == pytest.approx(wanted, abs=near)
    else:
        assert merged.delta == pytest.approx(exact, abs=near)


@given(cases)
@settings(deadline=None)
def test_mixing_and_trimming_is_the_exact_one_to_its_rounding(proposals):
    updates = np.rint(proposals.updates * 2**18)
    recipe = Recipe(aggregator="trimmed_mean", mixing=True, faulty=round(1000 * proposals.faulty))
    exact_updates = updates.astype(int).astype(object)
    digests = [bytes([k]) for k in range(len(updates))]
    plan = compute_plan(recipe, [1] * len(updates), exact_updates @ exact_updates.T, digests)
    merged = merge("nnm_trimmed_mean", proposals, updates=updates)
    assert merged.delta == pytest.approx(combine(plan, updates), abs=2**18 * 40 / 2**12)


@given(st.sampled_from([*EXACT, "nnm_trimmed_mean"]), cases, st.integers(2, 4))
@settings(deadline=None)
def test_a_copy_under_a_second_name_gains_nothing(name, proposals, pieces):
    weights = np.ones(len(proposals.updates))
    weights[0] = pieces
    whole = merge(name, proposals, weights=weights).delta
    split = replace(
        proposals,
        updates=np.vstack([proposals.updates[:1]] * (pieces - 1) + [proposals.updates]),
        weights=np.ones(len(weights) + pieces - 1),
        scores=None,
        malicious=None,
    )
    assert DEFENCES[name](split).delta == pytest.approx(whole, abs=1e-6)


# Against what the papers write, all weights alike


def count_faulty(proposals):
    return round(len(proposals.updates) * proposals.faulty)


whole_cases = cases.filter(lambda case: np.isclose(len(case.updates) * case.faulty, count_faulty(case)))


@given(whole_cases)
@settings(deadline=None)
def test_trimming_leaves_out_f_at_either_end(proposals):
    f = count_faulty(proposals)
    kept = np.sort(proposals.updates, axis=0)[f : len(proposals.updates) - f]
    assert merge("trimmed_mean", proposals).delta == pytest.approx(kept.mean(axis=0))


@given(cases)
@settings(deadline=None)
def test_the_median_is_the_lower_one(proposals):
    count = len(proposals.updates)
    middle = np.sort(proposals.updates, axis=0)[(count - 1) // 2]
    assert merge("median", proposals).delta.tolist() == middle.tolist()


def score_by_hand(updates, f):
    """Sum squared distances to the n - f - 1 nearest others."""
    squares = [[float(np.sum((x - y) ** 2)) for y in updates] for x in updates]
    return [sum(sorted(row[:k] + row[k + 1 :])[: len(updates) - f - 1]) for k, row in enumerate(squares)]


@given(whole_cases)
@settings(deadline=None)
def test_krum_takes_the_best_and_multi_krum_all_but_f(proposals):
    f, updates = count_faulty(proposals), proposals.updates
    order = np.argsort(score_by_hand(updates, f))
    assert merge("krum", proposals).delta.tolist() == updates[order[0]].tolist()
    best = merge("multi_krum", proposals)
    assert best.delta == pytest.approx(updates[order[: len(updates) - f]].mean(axis=0))
    assert set(np.flatnonzero(best.accepted)) == set(order[: len(updates) - f])


@given(whole_cases)
@settings(deadline=None)
def test_mixing_averages_the_nearest_n_minus_f(proposals):
    f, updates = count_faulty(proposals), proposals.updates
    near = [np.argsort([np.sum((x - y) ** 2) for y in updates])[: len(updates) - f] for x in updates]
    mixed = np.sort([updates[chosen].mean(axis=0) for chosen in near], axis=0)
    assert merge("nnm_trimmed_mean", proposals).delta == pytest.approx(mixed[f : len(updates) - f].mean(axis=0))


@given(cases)
@settings(deadline=None)
def test_no_point_has_a_smaller_sum_of_distances_than_the_geometric_median(proposals):
    point = merge("geometric_median", proposals).delta

    def total(z):
        return np.linalg.norm(proposals.updates - z, axis=1).sum()

    draw = np.random.default_rng(1)
    for near in [
        proposals.updates.mean(axis=0),
        *proposals.updates,
        *(point + 0.1 * draw.normal(size=(9, point.size))),
    ]:
        assert total(point) <= total(near) * (1 + 1e-3)


@pytest.mark.parametrize(("count", "f"), [(7, 1), (11, 2), (12, 2), (16, 3)])
def test_bulyan_picks_by_krum_and_averages_around_the_median(count, f):
    proposals = make_proposals(count=count, bad=f, faulty=f / count)
    left, picked = list(range(count)), []
    while len(picked) < count - 2 * f:
        best = left[int(np.argmin(score_by_hand(proposals.updates[left], f)))]
        left.remove(best)
        picked.append(best)
    chosen = np.sort(proposals.updates[sorted(picked)], axis=0)
    middle = chosen[(len(chosen) - 1) // 2]
    expected = [
        np.mean(sorted(column, key=lambda value: abs(value - m))[: count - 4 * f])
        for column, m in zip(chosen.T, middle, strict=True)
    ]
    merged = merge("bulyan", proposals)
    assert merged.delta == pytest.approx(expected)
    assert np.flatnonzero(merged.accepted).tolist() == sorted(picked)


def test_bulyan_told_of_more_than_it_can_withstand_withstands_what_it_can():
    proposals = make_proposals(count=11, bad=2)
    assert merge("bulyan", proposals, faulty=0.45).delta == pytest.approx(
        merge("bulyan", proposals, faulty=2 / 11).delta
    )
    assert merge("bulyan", make_proposals(count=3, bad=0)).accepted.all()


def test_clipping_brings_long_updates_to_the_median_norm():
    proposals = make_proposals(bad=0)
    updates = proposals.updates * np.array([[100.0], *[[1.0]] * 9])
    lengths = np.linalg.norm(updates, axis=1)
    limit = np.sort(lengths)[4]
    clipped = updates * np.minimum(1, limit / lengths)[:, None]
    plain = clip_and_noise(replace(proposals, updates=updates), noise=0.0)
    assert plain.delta == pytest.approx(clipped.mean(axis=0))
    noisy = [clip_and_noise(replace(proposals, updates=updates, seed=k), noise=0.1).delta for k in range(200)]
    assert np.std(np.array(noisy) - plain.delta) == pytest.approx(0.1 * limit, rel=0.05)
    assert (noisy[0] == clip_and_noise(replace(proposals, updates=updates, seed=0), noise=0.1).delta).all()


def test_fltrust_by_its_equations():
    proposals = make_proposals()
    g0 = proposals.root
    total, delta = 0.0, np.zeros_like(g0)
    for g in proposals.updates:  # (2) trust is the clipped cosine, (3) lengths are the root's, (4) the mean by trust
        trust = max(0.0, float(g @ g0 / np.linalg.norm(g) / np.linalg.norm(g0)))
        total += trust
        delta += trust * np.linalg.norm(g0) / np.linalg.norm(g) * g
    merged = merge("fltrust", proposals)
    assert merged.delta == pytest.approx(delta / total)
    assert merged.accepted.tolist() == (proposals.updates @ g0 > 0).tolist()
    assert not merge("fltrust", proposals, root=-100 * g0, updates=np.ones((10, 40))).delta.any()


def test_fltrust_is_blind_to_a_domain_that_the_root_lacks():
    updates = np.vstack([np.eye(4)[0]] * 9 + [np.eye(4)[1]])
    assert not merge("fltrust", make_proposals(), updates=updates, root=np.eye(4)[0]).accepted[9]


def compute_foolsgold_by_hand(histories):
    """Algorithm 1, line by line."""
    count = len(histories)

    def cosine(x, y):
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    cs = [[cosine(x, y) if i != j else 0.0 for j, y in enumerate(histories)] for i, x in enumerate(histories)]
    v = [max(row) for row in cs]
    for i in range(count):
        for j in range(count):
            if v[j] > v[i]:
                cs[i][j] *= v[i] / v[j]
    alpha = [min(1.0, max(0.0, 1 - max(row))) for row in cs]
    alpha = [a / max(alpha) for a in alpha]
    return [1.0 if a == 1 else 0.0 if a == 0 else min(1.0, max(0.0, np.log(a / (1 - a)) + 0.5)) for a in alpha]


@given(st.integers(0, 999), st.integers(2, 9))
def test_foolsgold_by_its_algorithm(seed, count):
    histories = np.random.default_rng(seed).normal(size=(count, 3))
    assert compute_foolsgold(histories) == pytest.approx(compute_foolsgold_by_hand(histories))


def test_foolsgold_takes_copies_for_sybils_by_what_they_did_so_far():
    draw = np.random.default_rng(2)
    history = draw.normal(size=(6, 30))
    history[:3] = history[0]
    proposals = replace(make_proposals(), updates=0.01 * draw.normal(size=(6, 30)), weights=np.ones(6), history=history)
    assert merge("foolsgold", proposals, scores=None, malicious=None).accepted.tolist() == [False] * 3 + [True] * 3


def cluster_by_hand(distances):
    """HDBSCAN (Campello et al. 2013) with FLAME's settings: single linkage, condensed, and its last members."""
    count = len(distances)
    smallest = count // 2 + 1
    merges, members = [], {k: frozenset([k]) for k in range(count)}
    for distance, i, j in sorted((distances[i, j], i, j) for i, j in combinations(range(count), 2)):
        if members[i] != members[j]:
            merges.append((distance, members[i], members[j]))
            joined = members[i] | members[j]
            members.update(dict.fromkeys(joined, joined))
    left_at = {}  # by point, the distance at which it leaves the one cluster
    cluster = members[0]
    for distance, one, other in reversed(merges):
        if one | other == cluster:
            larger = max(one, other, key=len)
            leaving = cluster - larger if len(larger) >= smallest else cluster
            left_at.update(dict.fromkeys(leaving, distance))
            cluster = cluster - leaving
    return [left_at[k] <= min(left_at.values()) for k in range(count)]


@given(st.integers(0, 9999), st.integers(2, 14), st.booleans())
def test_flame_s_cluster_is_hdbscan_s(seed, count, copied):
    draw = np.random.default_rng(seed)
    points = draw.normal(size=(count, 3))
    if copied:
        points[1] = points[0]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    assert find_majority_cluster(distances).tolist() == cluster_by_hand(distances)


def test_flame_s_cluster_on_a_line():
    # what scikit-learn's HDBSCAN gives for a least size of 4 and one sample, a single cluster allowed
    points = np.array([0.0, 1.0, 2.0, 3.5, 9.0, 20.0])
    assert find_majority_cluster(abs(points[:, None] - points)).tolist() == [True] * 4 + [False] * 2


def test_flame_keeps_the_majority_clips_it_and_adds_noise():
    proposals = make_proposals(size=400)
    quiet = DEFENCES["flame"](proposals, noise=0.0)
    assert not quiet.accepted[:3].any()
    kept = proposals.updates[quiet.accepted]
    limit = find_median(np.linalg.norm(proposals.updates, axis=1), np.ones(10))
    clipped = kept * np.minimum(1, limit / np.linalg.norm(kept, axis=1))[:, None]
    assert quiet.delta == pytest.approx(clipped.mean(axis=0))
    assert np.std(DEFENCES["flame"](proposals).delta - quiet.delta) == pytest.approx(1e-3 * limit, rel=0.15)


# Votes and controls


def test_a_vote_rejects_what_half_of_the_weight_sees_harm_of():
    scores = np.array([[0.1, -0.5, np.nan], [-0.9, -0.5, np.nan], [-0.005, 0.9, np.nan]])
    proposals = replace(make_proposals(count=3, bad=0), scores=scores, voters=np.ones(3))
    assert merge("clean_loss_vote", proposals).accepted.tolist() == [True, False, False]
    assert merge("clean_loss_vote", proposals, voters=np.array([1.0, 5.0, 1.0])).accepted.tolist() == [False] * 3


def test_in_flock_s_game_all_proposers_pay_for_one():
    proposals = make_proposals(bad=3)
    harmed = replace(proposals, judge=lambda delta: np.array([-0.2, -0.2, 0.1]))
    merged = DEFENCES["flock_game"](harmed)
    assert merged.slashed.all()
    assert not merged.accepted.any()
    assert not merged.delta.any()
    passed = DEFENCES["flock_game"](replace(proposals, judge=lambda delta: np.array([-0.04, 0.0, -0.2])))
    assert passed.accepted.all()
    assert not passed.slashed.any()
    assert passed.delta == pytest.approx(proposals.updates.mean(axis=0))


def test_a_tie_and_a_score_that_is_no_number_refuse():
    assert compute_flock_votes(np.array([0.1, np.nan, -0.05, -0.06])).tolist() == [1, -1, 1, -1]
    assert DEFENCES["flock_game"](replace(make_proposals(), judge=lambda delta: np.array([1.0, -1.0]))).slashed.all()


def test_the_controls_know_and_guess():
    proposals = make_proposals()
    assert merge("oracle_filter", proposals).accepted.tolist() == [False] * 3 + [True] * 7
    guesses = {tuple(merge("random_filter", proposals, seed=seed).accepted) for seed in range(40)}
    assert len(guesses) > 20
    assert {sum(guess) for guess in guesses} == {7}
