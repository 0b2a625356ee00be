"""Play four steps of eight updates in several recipes and print the final digests; no library's randomness in it.

    python benchmarks/_history.py ORDER

ORDER seeds the order in which the updates are handed over. Runs with numpy and the update/ and protocol/ folders alone.
"""

import json
import random
import sys

import numpy as np

from openflock.protocol.recipe import Recipe
from openflock.update.admission import check_admission
from openflock.update.aggregate import compute_candidate
from openflock.update.codec import digest, encode_update, get_digest, get_update_layout, make_update
from openflock.update.fixed import GlobalState, Layout, Module, initial_state
from openflock.update.geometry import compute_products
from openflock.update.robust import compute_plan

LAYOUT = Layout(tuple(Module(f"layers.{i}.linear", 1024, 768) for i in range(4)), rank=16, alpha=32)
RECIPES = {
    "mean, int8": Recipe(),
    "mean, ternary, Nesterov": Recipe(encoding="ternary", optimizer="nesterov", momentum=58_982, rate=45_875),
    "multi-Krum after mixing, clipped": Recipe(aggregator="multi_krum", mixing=True, faulty=250, clip=1000),
    "trimmed mean, int4": Recipe(encoding="int4", aggregator="trimmed_mean", faulty=250),
    "geometric median, FFA": Recipe(mode="ffa", aggregator="geometric_median"),
    "stack of mixed ranks": Recipe(mode="stack"),
}


def propose(state: GlobalState, seed: int) -> bytes:
    """Make an update from integers alone, with stretches of very different sizes."""
    layout, delta = get_update_layout(state, 16 - seed), {}
    for factor in state.trained:
        n = np.arange(layout.compute_size(factor), dtype=np.int64)
        delta[factor] = ((n * 2654435761 + seed * 40503) % 2**20 - 2**19) >> (n // 200 % 12)
    return encode_update(make_update(state, delta))


def play(recipe: Recipe, order: int) -> str:
    """Give the digest after all steps. Components are appended in the order of the digests, as merge.py does."""
    state = initial_state(LAYOUT, b"history", recipe)
    for _ in range(4 if recipe.mode != "stack" else 2):
        blobs = [propose(state, seed) for seed in range(8)]
        random.Random(order).shuffle(blobs)
        if recipe.mode == "stack":
            blobs.sort(key=digest)
        updates = [check_admission(state, blob, 2**32) for blob in blobs]
        digests = [digest(blob) for blob in blobs]
        weights = [10**18 + int.from_bytes(each[:2], "big") for each in digests]
        state = compute_candidate(
            state, updates, compute_plan(recipe, weights, compute_products(state, updates), digests)
        )
    return get_digest(state).hex()


if __name__ == "__main__":
    digests = {name: play(recipe, int(sys.argv[1])) for name, recipe in RECIPES.items()}
    print(json.dumps({"numpy": np.__version__, "torch": "torch" in sys.modules, "digests": digests}))
