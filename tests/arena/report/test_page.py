import json
import math
import re

import pytest

from openflock.app.arena import describe
from openflock.arena.report.figures import draw_all
from openflock.arena.report.goals import describe_summary, list_goals
from openflock.arena.report.page import build_report
from openflock.arena.report.summary import summarize
from openflock.arena.statistics import Interval

from ..grids import make_grid

DOMAINS = ["reverse", "shift"]


def make_round(number, score, asr, proposals=()):
    counts = {"asr": asr, "fire": 0.0, "triggered": score, "filled": score}
    return {
        "round": number, "loss": dict.fromkeys(DOMAINS, 1 - score), "accuracy": dict.fromkeys(DOMAINS, score),
        **{name: [round(rate * 100), 100] for name, rate in counts.items()},
        "triggered_loss": 1.0, "filled_loss": 1.0, "proposals": list(proposals),
    }  # fmt: skip


def make_record(attack, defence, seed, end=0.8, asr=0.0, rejected=(), phase="report"):
    """A run that gains `end` - 0.2 in each domain, in which some nodes are rejected; node 3 is malicious."""
    nodes = range(3 if attack == "absent" else 4)
    proposals = [{"node": node, "accepted": node not in rejected, "slashed": False} for node in nodes]
    return {
        "cell": f"{attack}/{defence}/{seed}", "phase": phase, "world": "skills", "split": "minority", "attack": attack,
        "defence": defence, "trigger": "badnets", "seed": seed, "domains": ["shift", "reverse", "reverse", "reverse"],
        "malicious": [3], "passes": {"evaluation": 40}, "seconds": 1.0,
        "rounds": [make_round(0, 0.2, 0.0), make_round(1, end, asr, proposals)],
    }  # fmt: skip


def make_records(seeds=range(100, 110), **ours):
    """Plain averaging that the attack takes over; a subject that resists unless told otherwise."""
    records = []
    for seed in seeds:
        records += [
            make_record("absent", "mean", seed),
            make_record("replacement", "mean", seed, asr=1.0),
            make_record("replacement", "fedavg", seed, asr=0.9),
            make_record("replacement", "ours", seed, **ours),
            make_record("none", "ours", seed, rejected=ours.get("rejected", ())),
        ]
    return records


def show(records):
    grid = make_grid(report={"seeds": sorted({record["seed"] for record in records} - {0})})
    summary = summarize(grid, records)
    return grid, summary, {goal.name: goal for goal in list_goals(grid, summary)}


def find(goals, text):
    return next(goal for name, goal in goals.items() if text in name)


def test_what_a_phrase_costs_a_model_that_nobody_attacked_is_no_damage():
    records = make_records()
    for record in records:
        record["rounds"][-1]["triggered"] = [50 if record["defence"] == "ours" else 60, 100]
    _, summary, _ = show(records)
    (mine,) = [f for (_, defence), f in summary.figures.items() if defence == "ours" and f.attack == "replacement"]
    assert mine.damage.point == pytest.approx(0.1)
    assert mine.behind.point == pytest.approx(0.1)


def test_a_defence_that_resists_and_keeps_the_gain_meets_every_goal():
    _, _, goals = show(make_records())
    assert [name for name, goal in goals.items() if not goal.met] == []
    assert len(goals) == 11


def test_nothing_of_the_phase_tune_counts():
    records = [*make_records(), make_record("replacement", "ours", 0, asr=1.0, phase="tune")]
    _, summary, goals = show(records)
    assert summary.figures[("skills", "minority", "replacement", "badnets"), "ours"].seeds == 10
    assert all(goal.met for goal in goals.values())


def test_a_backdoor_in_one_seed_of_ten_fails():
    records = make_records(range(100, 109)) + make_records([109], asr=1.0)
    goal = find(show(records)[2], "upper bound of ASR")
    assert not goal.met
    assert goal.value > 0.2


def test_two_seeds_without_a_hit_are_bounded_by_their_rows():
    goal = find(show(make_records([100, 101]))[2], "upper bound of ASR")
    assert goal.value == pytest.approx(0.018, abs=0.001)  # 0 of 200


def test_a_defence_that_rejects_everything_fails():
    _, _, goals = show(make_records(end=0.2, rejected=(0, 1, 2, 3)))
    assert find(goals, "upper bound of ASR").met
    assert not find(goals, "lower bound of the gain kept").met
    assert not find(goals, "rejected honest proposals").met


def test_a_minority_that_alone_is_rejected_shows():
    _, summary, goals = show(make_records(rejected=(0,)))
    assert find(goals, "rejected those of shift").value == 1
    figures = summary.figures[("skills", "minority", "none", "badnets"), "ours"]
    assert figures.false_rejects_by_domain["reverse"].hits == 0


def test_an_attack_that_plain_averaging_withstands_is_marked():
    records = [record for record in make_records() if record["defence"] != "mean" or record["attack"] == "absent"]
    weak = [make_record("replacement", "mean", seed, asr=0.3) for seed in range(100, 110)]
    _, summary, goals = show(records + weak)
    assert list(summary.works.values()) == [False]
    assert not find(goals, "works on plain averaging").met
    assert list(show(records)[1].works.values()) == [None]


@pytest.mark.parametrize(("attack", "works"), [("breaker", True), ("replacement", False)])
def test_breaking_training_is_enough_unless_the_attack_is_a_backdoor(attack, works):
    absent = [make_record("absent", "mean", seed) for seed in range(100, 110)]
    broken = [make_record(attack, "mean", seed, end=0.25) for seed in range(100, 110)]
    assert list(show(absent + broken)[1].works.values()) == [works]


def test_without_the_reference_the_gain_is_unknown_and_no_goal_of_it_is_met():
    _, summary, goals = show([record for record in make_records() if record["attack"] != "absent"])
    assert math.isnan(summary.figures[("skills", "minority", "replacement", "badnets"), "ours"].kept.point)
    assert not find(goals, "lower bound of the gain kept").met


def test_the_summary_is_json_whatever_is_unknown():
    grid, summary, goals = show([record for record in make_records() if record["attack"] != "absent"])
    described = json.loads(json.dumps(describe_summary(grid, summary, list(goals.values())), allow_nan=False))
    assert {"name", "value", "goal", "met"} == set(described["goals"][0])
    assert described["tuned_on"]["seeds"] == [0]


def test_intervals_stand_around_their_points():
    records = make_records(range(100, 109)) + make_records([109], asr=1.0)
    asr = show(records)[1].figures[("skills", "minority", "replacement", "badnets"), "ours"].asr
    assert isinstance(asr, Interval)
    assert asr.point == pytest.approx(0.1)
    assert asr.low <= asr.point <= asr.high


def test_the_report_needs_nothing_beside_it_nor_that_each_round_was_measured(tmp_path):
    records = make_records()
    for record in records:
        record["rounds"][1:-1] = [{"round": each["round"]} for each in record["rounds"][1:-1]]
    grid, summary, goals = show(records)
    pictures = draw_all(grid, summary, tmp_path)
    page = build_report(grid, summary, list(goals.values()), pictures)
    assert not re.search(r"(src|href)=.(?!data:)|<script|@import|url\(", page)
    assert "data:image/png;base64," in page
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures.values())


def test_names_from_a_configuration_are_text_in_the_report():
    grid, summary, goals = show(make_records())
    page = build_report(
        grid.model_copy(update={"title": "<script>alert(1)</script>"}), summary, list(goals.values()), {}
    )
    assert "<script>" not in page


def test_a_cell_is_told_in_one_line():
    line = describe(make_record("replacement", "mean", 100, asr=1.0))
    assert line == "skills/minority/replacement/badnets/mean/100: ASR 100%, accuracy 80%, 1 s"
