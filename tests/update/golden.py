"""Compute short histories on a layout large enough for threads; print what must never change."""

import numpy as np

from openflock.protocol.recipe import Recipe
from openflock.update.admission import check_admission
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import digest, encode_state, encode_update, get_update_layout, make_update
from openflock.update.duplicates import find_duplicates
from openflock.update.fixed import Layout, Module, initial_state
from openflock.update.geometry import compute_products, compute_squared_norm
from openflock.update.robust import compute_grouped_plan, compute_plan
from openflock.update.trail import compare_trails

LAYOUT = Layout((Module("layers.0.k_proj", 128, 256), Module("layers.0.q_proj", 256, 256)), rank=8, alpha=16)
NESTEROV = {"optimizer": "nesterov", "momentum": 58_982, "rate": 45_875}
RECIPES = {
    f"{mode} {encoding} {optimizer.get('optimizer', 'plain')}": Recipe(mode, encoding, **optimizer)
    for mode in ("alternate", "ffa", "stack")
    for encoding in ("int8", "int4", "ternary", "sparse4")
    for optimizer in ({}, NESTEROV)
    if mode != "stack" or not optimizer
}
RECIPES["alternate int8 krum"] = Recipe(aggregator="multi_krum", mixing=True, faulty=250, clip=1000)
RECIPES["alternate int4 trimmed"] = Recipe(encoding="int4", aggregator="trimmed_mean", faulty=250)
RECIPES["alternate int8 by domain"] = Recipe(grouping=600, aggregator="trimmed_mean", faulty=400, clip=1000)
REMEMBERING = {"mixing": True, "aggregator": "trimmed_mean", "faulty": 400, "clip": 1000, "memory": 3}
RECIPES |= {f"{mode} int8 remembering": Recipe(mode, **REMEMBERING) for mode in ("alternate", "separate")}
RECIPES["alternate int8 adam"] = Recipe(optimizer="adam", momentum=58_982, rate=131)
RECIPES["separate int8 adam"] = Recipe("separate", optimizer="adam", momentum=58_982, rate=131)
RECIPES["separate int8 adam, slower"] = Recipe("separate", optimizer="adam", momentum=58_982, rate=328, decay=2**12)
RECIPES["ffa int8 nesterov, slower"] = Recipe("ffa", **NESTEROV, decay=2**14)
RECIPES["separate int4 plain"] = Recipe("separate", "int4")
RECIPES["alternate int8 geometric"] = Recipe(aggregator="geometric_median")


def make_proposal(state, seed):
    """Make an update from integers alone: no library's random generator lasts for ever."""
    layout = get_update_layout(state, 8 - seed)
    delta = {}
    for factor in state.trained:
        n = np.arange(layout.compute_size(factor), dtype=np.int64)
        # Stretches of very different sizes, so that many scales occur.
        delta[factor] = ((n * 2654435761 + seed * 40503) % 2**20 - 2**19) >> (n // 200 % 17)
    return make_update(state, delta)


def tell_history(recipe):
    """List the digests and numbers of two steps, and of as many more as it takes to remember."""
    state = initial_state(LAYOUT, b"golden", recipe)
    period = 2 if recipe.mode == "alternate" else 1
    facts, sent = [digest(encode_state(state)).hex()], []
    for number in range(2 + period * recipe.memory):
        moved = number if recipe.memory else 0
        blobs = [encode_update(make_proposal(state, seed + moved)) for seed in (1, 2, 1, 3)]
        admitted = [check_admission(state, blob, norm_ceiling=2**32) for blob in blobs]
        facts += [digest(blobs[0]).hex(), str(compute_squared_norm(state, admitted[0]))]
        facts += [repr(find_duplicates(state, admitted, 999))]
        weights, names = [10**24 + 7 * i for i in range(4)], [digest(blob) for blob in blobs]
        measured = (recipe, weights, compute_products(state, admitted), names)
        if recipe.memory:
            past = sent[-period::-period][: recipe.memory - 1]
            earlier = [{ago: each[place] for ago, each in enumerate(past, 1)} for place in range(4)]
            directions = compare_trails(state, admitted, earlier, [0, 1, 0, 0])
            facts += [repr(directions.tolist())]
            plan = compute_plan(*measured, directions)
        else:
            plan = compute_grouped_plan(*measured, [0, 1, 0, 0]) if recipe.grouping else compute_plan(*measured)
        state = compute_candidate(state, admitted, plan)
        sent.append(admitted)
        facts += [digest(encode_state(state)).hex()]
    return facts


def tell_digests():
    """Give for every recipe the digest of all that its history tells."""
    return {name: digest("\n".join(tell_history(recipe)).encode()).hex() for name, recipe in RECIPES.items()}


if __name__ == "__main__":
    print("\n".join(tell_history(Recipe())))
    for name, told in tell_digests().items():
        print(f'"{name}": "{told}",')
