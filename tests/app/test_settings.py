import json
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.app.settings import (
    DEFAULT_RULES,
    TOKEN,
    Config,
    SettingsError,
    apply_change,
    build_rules,
    complete_recipe,
    load_config,
    parse_config,
)
from openflock.protocol.rules import BadRules

ROOT = Path(__file__).parents[2]
SHIPPED = (path for path in sorted((ROOT / "configs").rglob("*.toml")) if not path.name.startswith("arena_"))
CONFIGS = [*SHIPPED, Path(str(files("openflock") / "assets" / "demo.toml"))]


def build(config, domains=4, nodes=8):
    return build_rules(config, bytes(32), bytes(32), bytes(32), domains, nodes)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_that_ships_can_be_run(path):
    config = load_config(path)
    domains = len(config.domains) or 4
    rules = build(config, domains, domains * config.nodes_per_domain)
    assert rules.min_stake <= config.stake * TOKEN
    assert config.stake * TOKEN >= rules.bond


def test_the_recipe_of_claim_two_ships_as_it_was_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "synergy.json").read_text())["setting"]["config"]
    named = dict.fromkeys(("title", "base"), "")
    measured["recipe"]["memory"] = 0  # it was measured before there was one
    assert parse_config(measured | named) == load_config(ROOT / "configs" / "adam_outside.toml").model_copy(
        update=named
    )


def read_told_rules():
    """The rules in docs/creating.md: rows of one or more names, their defaults in the same order, some in tokens."""
    for line in (ROOT / "docs" / "creating.md").read_text().partition("## All rules")[2].splitlines():
        names, values = [cell.strip(" `") for cell in line.split("|")[1:3]] or ["", ""]
        if names in ("", "rule", "---", "min_nodes"):
            continue
        unit = TOKEN if values.endswith("tokens") else 1
        numbers = [unit * int(value.replace(",", "")) for value in values.removesuffix(" tokens").split(", ")]
        yield from zip(names.split("`, `"), numbers, strict=True)


def test_the_page_for_creators_has_every_default():
    assert dict(read_told_rules()) == DEFAULT_RULES


@pytest.mark.parametrize(
    ("departures", "memory"),
    [({}, 6), ({"mixing": False}, 0), ({"memory": 0}, 0), ({"memory": 3}, 3), ({"mode": "stack"}, 0), ({"clip": 0}, 0)],
)
def test_a_memory_is_kept_where_updates_are_compared_and_none_was_chosen(departures, memory):
    assert complete_recipe(departures).memory == memory


def test_the_default_rules_work():
    rules = build(Config())
    assert rules.rounds == DEFAULT_RULES["rounds"]


def test_rules_of_the_configuration_go_over_the_defaults_and_what_is_derived():
    rules = build(Config(rules={"rounds": 9, "min_nodes": 5}))
    assert (rules.rounds, rules.min_nodes) == (9, 5)


def test_rules_that_cannot_work_are_refused():
    with pytest.raises(BadRules, match="too few nodes"):
        build(Config(rules={"min_nodes": 1}))
    with pytest.raises(BadRules, match="vote must last"):
        build(Config(rules={"vote": 0}))
    with pytest.raises(SettingsError, match=r"rules\.typo: no such rule"):
        build(Config(rules={"typo": 1}))


@pytest.mark.parametrize(
    ("change", "key", "value"),
    [
        ("seed=5", "seed", 5),
        ("seed = 5", "seed", 5),
        ("title=two words", "title", "two words"),
        ("base=../base", "base", "../base"),
        ("base='3'", "base", "3"),
        ("title=a=b", "title", "a=b"),
        ('domains=["a", "b"]', "domains", ["a", "b"]),
    ],
)
def test_a_change_is_read_as_toml_and_else_as_text(change, key, value):
    assert getattr(parse_config({}, [change]), key) == value


def test_changes_reach_into_tables_and_the_last_one_holds():
    config = parse_config({"train": {"steps": 1}}, ["train.batch_size=3", "train.steps=2", "train.steps=7"])
    assert (config.train.steps, config.train.batch_size) == (7, 3)
    assert parse_config({}, ["rules.rounds=2"]).rules == {"rounds": 2}


@pytest.mark.parametrize(
    ("table", "changes", "named"),
    [
        ({}, ["stpes=3"], "stpes"),
        ({}, ["train.stpes=3"], "train.stpes"),
        ({}, ["train.steps=0"], "train.steps"),
        ({}, ["train.steps=many"], "train.steps"),
        ({}, ["ledger=paper"], "ledger"),
        ({}, ["rules.rounds=x"], "rules.rounds"),
        ({}, ["seed=-1"], "seed"),
        ({}, ["attackers=[{}]"], "attackers.0.domain"),
        ({}, ["nothing"], "--set nothing"),
        ({}, ["=3"], "--set =3"),
        ({"title": "x"}, ["title.more=3"], "title is not a table"),
        ({"baselines": ["magic"]}, [], "baselines.0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_that_names_the_key(table, changes, named):
    with pytest.raises(SettingsError) as caught:
        parse_config(table, changes)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_change_is_applied_or_refused(text):
    with suppress(SettingsError):
        apply_change({}, text)


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.toml: no such file"):
        load_config(tmp_path / "absent.toml")
    for content in (b"= 3", b"\xff\xfe"):
        (tmp_path / "bad.toml").write_bytes(content)
        with pytest.raises(SettingsError, match=r"bad\.toml: not TOML"):
            load_config(tmp_path / "bad.toml")


def test_a_configuration_survives_run_json():
    for path in CONFIGS:
        config = load_config(path)
        assert Config.model_validate(config.model_dump()) == config
