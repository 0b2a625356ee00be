from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.recipe import ONE, BadRecipe, Recipe, compares, compute_rate, describe_recipe

KRUM = Recipe(aggregator="krum", faulty=200)
MOMENTUM = Recipe(optimizer="momentum", momentum=2**15)
STACK = Recipe(mode="stack")

BAD = [
    (Recipe(), {"mode": "svd"}, "mode"),
    (Recipe(), {"encoding": "int16"}, "encoding"),
    (Recipe(), {"aggregator": "bulyan"}, "aggregator"),
    (Recipe(), {"aggregator": ["mean"]}, "aggregator"),
    (Recipe(), {"mixing": 1}, "mixing"),
    (Recipe(), {"grouping": True}, "grouping must be an integer"),
    (Recipe(), {"grouping": 1001}, "grouping must be 0 to 1000 permille"),
    (STACK, {"grouping": 1000}, "mode stack only appends: grouping must be 0"),
    (Recipe(), {"mixing": True}, "mixing needs faulty"),
    (Recipe(), {"memory": 3}, "memory needs mixing"),
    (STACK, {"memory": 3}, "memory needs mixing"),
    (KRUM, {"memory": True}, "memory must be an integer"),
    (KRUM, {"memory": 1}, "memory must be 0 or 2 to 8 rounds"),
    (KRUM, {"memory": 9}, "memory must be 0 or 2 to 8 rounds"),
    (KRUM, {"memory": -1}, "memory must be 0 or 2 to 8 rounds"),
    (KRUM, {"memory": 2, "clip": 0}, "memory needs a clip of 1 to 2000 permille"),
    (KRUM, {"memory": 2, "clip": 2001}, "memory needs a clip of 1 to 2000 permille"),
    (Recipe(), {"aggregator": "krum"}, "krum needs faulty"),
    (Recipe(), {"aggregator": "multi_krum"}, "multi_krum needs faulty"),
    (Recipe(), {"aggregator": "trimmed_mean"}, "trimmed_mean needs faulty"),
    (KRUM, {"faulty": -1}, "faulty"),
    (KRUM, {"faulty": 500}, "faulty"),
    (KRUM, {"faulty": 200.0}, "faulty must be an integer"),
    (Recipe(), {"clip": -1}, "clip"),
    (Recipe(), {"clip": 1_000_001}, "clip"),
    (Recipe(), {"clip": True}, "clip must be an integer"),
    (Recipe(), {"optimizer": "yogi"}, "optimizer"),
    (Recipe(), {"rate": 0}, "rate"),
    (Recipe(), {"rate": 2**18 + 1}, "rate"),
    (Recipe(), {"momentum": 1}, "momentum"),
    (MOMENTUM, {"momentum": -1}, "momentum"),
    (MOMENTUM, {"optimizer": "adam"}, "rate must be at most"),
    (MOMENTUM, {"optimizer": "adam", "rate": 2**12 + 1}, "rate must be at most"),
    (MOMENTUM, {"momentum": 2**16}, "momentum"),
    (MOMENTUM, {"mode": "stack"}, "mode stack"),
    (KRUM, {"mode": "stack"}, "mode stack"),
    (STACK, {"mixing": True, "faulty": 200}, "mode stack"),
    (STACK, {"rate": 2**15}, "mode stack"),
    (STACK, {"decay": 1}, "mode stack"),
    (Recipe(), {"decay": -1}, "decay"),
    (Recipe(), {"decay": 2**16 + 1}, "decay"),
    (Recipe(), {"decay": 0.5}, "decay must be an integer"),
]


@pytest.mark.parametrize(("good", "change", "reason"), BAD)
def test_a_recipe_that_cannot_work_is_refused_by_the_name_of_its_field(good, change, reason):
    with pytest.raises(BadRecipe, match=f"^recipe: .*{reason}") as refusal:
        replace(good, **change)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"aggregator": "median"},
        {"aggregator": "geometric_median"},
        {"aggregator": "krum", "faulty": 1},
        {"aggregator": "geometric_median", "memory": 2, "clip": 2000},
        {"mode": "separate", "aggregator": "median", "faulty": 1, "mixing": True, "memory": 8, "clip": 1},
        {"aggregator": "trimmed_mean", "faulty": 499, "mixing": True},
        {"mode": "ffa", "encoding": "ternary", "clip": 1_000_000},
        {"mode": "stack", "encoding": "sparse4", "clip": 2000},
        {"optimizer": "nesterov", "momentum": 2**16 - 1, "rate": 2**18},
        {"optimizer": "momentum", "momentum": 0, "rate": 1},
        {"mode": "separate", "optimizer": "adam", "momentum": 58_982, "rate": 2**12, "decay": 2**16},
    ],
)
def test_recipes_at_their_bounds_are_accepted(fields):
    assert replace(Recipe(), **fields) == Recipe(**fields)


def test_the_default_recipe_is_the_mean_added_as_it_is():
    recipe = Recipe()
    assert (recipe.mode, recipe.aggregator, recipe.optimizer) == ("alternate", "mean", "plain")
    assert (recipe.mixing, recipe.faulty, recipe.clip, recipe.momentum) == (False, 0, 0, 0)
    assert recipe.rate == 2**16
    assert recipe.decay == 0


@given(st.integers(1, 2**18), st.integers(0, ONE), st.integers(1, 2**31))
def test_a_rate_never_rises_nor_ends(rate, decay, count):
    recipe = Recipe(rate=rate, decay=decay)
    assert compute_rate(recipe, 1) == rate
    assert 1 <= compute_rate(recipe, count + 1) <= compute_rate(recipe, count) <= rate
    assert decay or compute_rate(recipe, count) == rate


def test_what_older_recipes_did_not_have_is_not_written_where_it_is_off():
    assert not {"decay", "memory"} & describe_recipe(Recipe()).keys()
    recipe = Recipe(decay=3, mixing=True, memory=2, faulty=1, clip=1000)
    assert (describe_recipe(recipe)["decay"], describe_recipe(recipe)["memory"]) == (3, 2)
    assert Recipe(**describe_recipe(recipe)) == recipe


@pytest.mark.parametrize(
    ("recipe", "does"),
    [(Recipe(), False), (Recipe(clip=1000), False), (KRUM, True), (STACK, False),
     (Recipe(aggregator="median"), False), (Recipe(aggregator="median", mixing=True, faulty=1), True),
     (Recipe(aggregator="geometric_median"), True), (Recipe(aggregator="multi_krum", faulty=1), True),
     (Recipe(aggregator="trimmed_mean", faulty=1), False)],
)  # fmt: skip
def test_only_these_rules_compare_updates(recipe, does):
    assert compares(recipe) == does
