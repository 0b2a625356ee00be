"""Every recipe plays a whole task: trained, sent, judged, merged, replayed, exported."""

import pytest
from rich.console import Console

from openflock.app.auditing import audit_directory
from openflock.app.rundir import RunDirectory
from openflock.app.settings import SettingsError, build_recipe, load_config
from openflock.app.simulate import simulate
from openflock.protocol.recipe import BadRecipe

# PEFT asks transformers for a name that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


RECIPES = {
    "few bytes, rests, momentum": ['recipe.encoding="ternary"', 'recipe.optimizer="nesterov"', "recipe.momentum=40000"],
    "mixed ranks": ['recipe.mode="stack"', "ranks=[1, 2]", 'recipe.encoding="int4"'],
    "clipped trimmed mean, A frozen": [
        'recipe.mode="ffa"',
        'recipe.aggregator="trimmed_mean"',
        "recipe.faulty=200",
        "recipe.clip=1500",
    ],
    "Krum of mixed neighbours": ['recipe.aggregator="multi_krum"', "recipe.mixing=true", "recipe.faulty=200"],
    "mixed by what proposers did before": [
        'recipe.mode="ffa"',
        'recipe.aggregator="trimmed_mean"',
        "recipe.mixing=true",
        "recipe.memory=2",
        "recipe.faulty=200",
    ],
    "median of sparse updates": ['recipe.aggregator="median"', 'recipe.encoding="sparse4"'],
    "geometric median": ['recipe.aggregator="geometric_median"'],
    "both factors, gradients, Adam outside": [
        'recipe.mode="separate"',
        'recipe.optimizer="adam"',
        "recipe.momentum=58982",
        "recipe.rate=131",
        'train.optimizer="sgd"',
        "train.learning_rate=1.0",
        "train.steps=1",
    ],
}
RECIPES["the same at a rate that falls"] = [*RECIPES["both factors, gradients, Adam outside"], "recipe.decay=3277"]


SELDOM = {"few bytes, rests, momentum", "Krum of mixed neighbours", "median of sparse updates", "geometric median"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in SELDOM else []) for name in RECIPES]
)
def test_a_task_of_any_recipe_merges_and_is_audited(config_file, tmp_path, name):
    config, run = load_config(config_file, RECIPES[name]), RunDirectory(tmp_path / "run")
    summary = simulate(config, run.path, Console(quiet=True))
    report = audit_directory(run, lambda _: None)
    assert report.finished
    assert report.merges >= 1
    assert report.state.digest.hex() == summary["digest"]
    assert summary["loss"]["merged"] != summary["loss"]["base"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (['recipe.mode="stak"'], "recipe: mode must be one of alternate, ffa, separate, stack"),
        (["recipe.typo=1"], "recipe.typo: no such field"),
        (['recipe.aggregator="krum"', "recipe.mixing=false", "recipe.faulty=0"], "krum needs faulty above 0"),
        (["ranks=[2]"], "ranks: only where recipe.mode is stack"),
        (['recipe.mode="stack"', "ranks=[2, 3]"], "ranks: .*at most the task's rank"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_in_one_line(config_file, changes, fault):
    with pytest.raises((SettingsError, BadRecipe), match=fault):
        build_recipe(load_config(config_file, changes))
