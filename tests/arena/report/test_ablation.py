import json
from math import isnan

import pytest

from openflock.arena.report.ablation import compare_tables, list_ablations, measure_ablations
from openflock.arena.report.earnings import BadEarnings, read_earnings
from openflock.arena.report.figures import draw_all
from openflock.arena.report.goals import describe_summary, list_reductions
from openflock.arena.report.page import build_report
from openflock.arena.report.summary import summarize
from openflock.arena.settings import DefenceTable

from ..grids import TABLE, make_grid
from .test_page import make_record, make_records

DEFENCES = TABLE["defences"] | {
    "unvetoed": {"kind": "protocol", "veto": False},
    "averaging": {"kind": "protocol", "recipe": {"mixing": True, "aggregator": "trimmed_mean", "faulty": 300}},
    "bare": {"kind": "protocol", "veto": False, "verdict": False},
    "strict": {"kind": "protocol", "rules": {"tolerance": 100}},
    "slow": {"kind": "protocol", "veto": False, "schedule": {"rounds": 9}},
}
FINDING = {
    "scenario": "lazy voter", "role": "lazy", "earned": 1.0, "profit": {"low": -2.0, "point": -1.0, "high": -0.5},
    "advantage": {"low": -3.0, "point": -2.0, "high": -1.0},
}  # fmt: skip


def summarize_with(*records):
    grid = make_grid(report={"seeds": list(range(100, 110))}, defences=DEFENCES)
    return grid, summarize(grid, [*make_records(), *records])


def test_an_ablation_is_the_subject_without_one_layer():
    found = list_ablations(make_grid(defences=DEFENCES))
    assert {name: layer for name, (layer, _) in found.items()} == {
        "unvetoed": "veto",
        "averaging": "aggregator",
        "strict": "tolerance",
    }
    assert found["strict"][1] == "tolerance = 100"


def test_another_kind_of_defence_is_no_ablation():
    assert compare_tables(DefenceTable(kind="protocol"), DefenceTable(rule="mean")) == {}
    assert list_ablations(make_grid(subject="mean")) == {}


def test_a_layer_that_pays_shows_by_how_much():
    grid, summary = summarize_with(
        *(make_record("replacement", "unvetoed", seed, asr=0.6, end=0.5) for seed in range(100, 110))
    )
    (found,) = measure_ablations(grid, summary)
    assert (found.layer, found.place[2]) == ("veto", "replacement")
    assert found.asr.point == pytest.approx(0.6)
    assert found.kept.point == pytest.approx(-0.5)


def test_the_reduction_against_each_optimizer_is_kept_beside_its_p_value():
    grid, summary = summarize_with()
    (found,) = list_reductions(grid, summary)
    assert (found.optimizer, found.share, found.is_met) == ("fedavg", 1.0, True)


def test_an_optimizer_that_no_attack_got_through_leaves_nothing_to_reduce():
    grid, summary = summarize_with(*(make_record("replacement", "fedavg", seed, asr=0.0) for seed in range(100, 110)))
    (found,) = list_reductions(grid, summary)
    assert isnan(found.share)
    assert not found.is_met
    assert "nan" not in build_report(grid, summary, [], {})


def test_a_reduction_by_less_than_the_paper_s_is_no_chance_of_it():
    """Half of the optimizer's ASR is lower, and surely so, but not by two thirds."""
    half = [make_record("replacement", "ours", seed, asr=0.4) for seed in range(100, 110)]
    grid, summary = summarize_with(*(make_record("replacement", "fedavg", s, asr=0.8) for s in range(100, 110)), *half)
    (found,) = list_reductions(grid, summary)
    assert found.share == pytest.approx(0.5)
    assert not found.is_met


def test_the_summary_has_the_ablations():
    grid, summary = summarize_with(*(make_record("replacement", "unvetoed", seed, asr=0.6) for seed in range(100, 110)))
    (found,) = describe_summary(grid, summary, [])["ablations"]
    assert found["change"] == "veto = False"
    assert found["asr"]["point"] == pytest.approx(0.6)


def test_the_page_shows_reductions_ablations_and_profits(tmp_path):
    grid, summary = summarize_with(*(make_record("replacement", "unvetoed", seed, asr=0.6) for seed in range(100, 110)))
    path = tmp_path / "economics.json"
    path.write_text(json.dumps({"goals": [], "findings": [FINDING]}))
    earnings = read_earnings(path)
    pictures = draw_all(grid, summary, tmp_path, earnings)
    page = build_report(grid, summary, [], pictures, earnings)
    assert {"ablation", "profits"} <= set(pictures)
    for text in ("Against federated optimizers", "unvetoed: veto = False", "lazy voter", "+60.0"):
        assert text in page


@pytest.mark.parametrize("content", ["", "[]", '{"findings": [{"scenario": "x"}]}'])
def test_a_file_of_something_else_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "economics.json"
    path.write_text(content)
    with pytest.raises(BadEarnings, match="write some"):
        read_earnings(path)


def test_witnesses_are_counted_by_whom_they_accuse():
    records = [make_record("replacement", "ours", seed) for seed in (100, 101)]
    for record in records:
        record["rounds"][1]["exposed"] = 3
        record["rounds"][1]["witnesses"] = [
            {"node": 0, "honest": False, "upheld": False, "denied": True},
            {"node": 3, "honest": True, "upheld": True, "denied": False},
        ]
        record["passes"] = {"evaluation": 40, "probe": 30, "other": 10}
    grid = make_grid()
    figures = summarize(grid, records).figures[("skills", "minority", "replacement", "badnets"), "ours"]
    assert (figures.upheld_false.hits, figures.upheld_false.total) == (0, 2)
    assert (figures.upheld_true.hits, figures.upheld_true.total) == (2, 2)
    assert (figures.denied.hits, figures.denied.total) == (2, 4)
    assert (figures.exposed.rate, figures.evaluation_passes, figures.probe_passes) == (3, 40, 40)
