"""The economy is the protocol's own: books that balance, runs that repeat, and strategies that meet their verdicts."""

from dataclasses import replace

import pytest

from openflock.app.settings import DEFAULT_RULES, complete_recipe
from openflock.arena.economy import strategies as does
from openflock.arena.economy.market import TOKEN, Market, Result, Unbalanced
from openflock.arena.economy.profits import demand_all, describe, find, find_all, open_market, sum_roles
from openflock.arena.economy.scenarios import (
    COALITION,
    COALITION_ROLE,
    LONE,
    MINORITY,
    SCENARIOS,
    STAKE,
    Scenario,
    cheat,
)
from openflock.arena.economy.scene import Figures
from openflock.arena.economy.strategies import SPECIALIST
from openflock.node.shares import find_share
from openflock.protocol.recipe import Recipe
from openflock.protocol.types import Phase, Verdict

ROUNDS = 3
FIGURES = Figures()
RECIPE = complete_recipe({"memory": 0})
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def run(name, seed=0, rounds=ROUNDS, figures=FIGURES, **changes):
    return open_market(BY_NAME[name], {**DEFAULT_RULES, **changes}, RECIPE, rounds, seed, figures).run()


def count(played, role, verdict):
    return played.verdicts.get((role, verdict.name), 0)


def get(played, role):
    return sum_roles(played, ROUNDS)[role]


# --- The market ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_scenario_makes_or_loses_money(scenario):
    """The books are checked after every round; here the whole task: nobody but the creator put anything in."""
    played = open_market(scenario, DEFAULT_RULES, RECIPE, ROUNDS, 1, FIGURES).run()
    assert sum(played.outcomes.values()) == ROUNDS
    gained = sum(result.earned - result.lost for result in played.results)
    assert gained <= 240 * ROUNDS + 1e-6


def test_updates_count_in_the_economy_for_what_voters_judge_them_at():
    """Where domains are merged apart, the third one's only holder counts for over twice its weight."""
    shares = {}
    for recipe in (RECIPE, Recipe()):
        market = open_market(BY_NAME["honest"], DEFAULT_RULES, recipe, ROUNDS, 0, FIGURES)
        while market.state.phase != Phase.VOTE:
            market.play_phase()
        current, scene = market.state.round, market.scene
        shares[recipe.grouping] = [dose * FIGURES.share for dose in scene.list_doses(current.proposals).values()]
        judged = [float(find_share(recipe, current, slot)) for slot in current.proposals]
        assert shares[recipe.grouping] == pytest.approx(judged)
    assert max(shares[RECIPE.grouping]) > 2 * max(shares[0])


def test_books_that_do_not_balance_are_noticed(monkeypatch):
    monkeypatch.setattr(Market, "play_round", lambda self: (self.state.payable.update(x=1), self.check_books()))
    with pytest.raises(Unbalanced, match="paid in"):
        run("honest")


def test_a_seed_plays_the_same_task_again_and_another_seed_another():
    assert run("honest", seed=3) == run("honest", seed=3)
    assert run("honest", seed=3) != run("honest", seed=4)


def test_an_honest_seat_s_updates_are_alike_in_all_scenarios():
    """Paired seeds compare strategies, not luck."""
    honest, beside = run("honest"), run("veto abuse")
    assert [result.earned for result in honest.results] == [result.earned for result in beside.results]


def test_the_coalition_holds_just_under_three_tenths():
    assert 0.299 < COALITION / (8 * STAKE + COALITION) < 0.3


def test_profit_is_what_is_left():
    assert Result("role", stake=100, earned=9, lost=2, cost=3).profit == 4


# --- What strategies meet ------------------------------------------------------------------------------------


def test_honest_updates_are_paid_but_that_of_a_domain_s_only_holder():
    played = run("honest")
    assert count(played, "specialist", Verdict.PAID) == 5 * ROUNDS
    assert count(played, MINORITY, Verdict.UNPAID) == ROUNDS


def test_the_third_holder_of_a_domain_makes_it_paid():
    assert count(run("honest, two hold the third domain"), MINORITY, Verdict.PAID) == 0
    assert count(run("honest, three hold the third domain"), MINORITY, Verdict.PAID) == ROUNDS


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("free rider: zero update", Verdict.UNPAID), ("loud poison", Verdict.HARMFUL), ("hidden backdoor", Verdict.PAID)],
)
def test_a_coalition_s_updates_get_their_verdict(name, verdict):
    assert count(run(name), COALITION_ROLE, verdict) == 4 * ROUNDS


def test_malformed_updates_cost_stake_until_nothing_can_be_drawn():
    played = run("malformed update", rounds=4)
    assert count(played, COALITION_ROLE, Verdict.INADMISSIBLE) == 8
    assert played.slashed == {(COALITION_ROLE, "INADMISSIBLE"): pytest.approx(200)}


def test_a_backdoor_is_slashed_once_somebody_finds_it():
    found = run("hidden backdoor, searched for", rounds=8)
    assert found.slashed[COALITION_ROLE, "BACKDOOR"] == pytest.approx(
        50 * count(found, COALITION_ROLE, Verdict.SUSPECT)
    )
    assert count(found, "specialist", Verdict.SUSPECT) == 0


def test_near_duplicates_share_one_payout():
    copies, honest = run("copycat: near-duplicates"), run("honest")
    assert get(copies, COALITION_ROLE)["earned"] < get(honest, COALITION_ROLE)["earned"] * 0.7


def test_a_false_witness_loses_its_bond():
    false, honest = run("false witness"), run("honest")
    lost = get(honest, COALITION_ROLE)["earned"] - get(false, COALITION_ROLE)["earned"]
    assert lost == pytest.approx(4 * 5 / (COALITION / TOKEN) * 100, rel=0.1)


def test_a_lazy_voter_spends_nothing_on_looking():
    lazy, honest = run("lazy voter: constant"), run("honest")
    assert get(lazy, LONE)["cost"] == FIGURES.training
    assert get(honest, LONE)["cost"] == pytest.approx(FIGURES.training + FIGURES.evaluation * 11 / 12)


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("lazy voter") and "beside" not in name])
def test_who_does_not_look_agrees_less_than_who_does(name):
    lazy, honest = run(name), run(BY_NAME[name].versus)
    assert get(lazy, LONE)["earned"] < get(honest, LONE)["earned"]


def test_refusing_what_others_could_fetch_is_not_paid():
    refusing, honest = (get(run(name), COALITION_ROLE)["earned"] for name in ("griefing: unavailable", "honest"))
    assert refusing < honest * 0.7


def test_an_old_update_sent_again_is_merged_but_not_paid():
    again = run("copycat: others' old updates", rounds=4)
    assert count(again, COALITION_ROLE, Verdict.PAID) >= 4
    assert again.results[-1].earned < run("honest", rounds=4).results[-1].earned * 0.9


@pytest.mark.parametrize("name", ["overlong update", "overlong update, on text"])
def test_an_update_sent_at_twice_its_length_earns_no_more_unless_all_of_its_gain_counts(name, monkeypatch):
    honest = run(BY_NAME[name].versus, rounds=8).results[-1].earned
    assert run(name, rounds=8).results[-1].earned < honest * 1.05
    monkeypatch.setattr(does, "count_gain", lambda score, _clip, _rules: score)
    assert run(name, rounds=8).results[-1].earned > honest * 1.1


def test_a_split_stake_shares_its_work():
    assert get(run("Sybil: one node's work under four names"), COALITION_ROLE)["cost"] < FIGURES.training


GRIEFING = ("griefing: harm, as half of a domain", "griefing: harm, pair in an empty domain")


@pytest.mark.parametrize("name", GRIEFING)
def test_a_quorum_over_the_coalition_s_weight_keeps_it_from_rejecting_anything(name):
    assert count(run(name), "specialist", Verdict.HARMFUL) == 0
    assert count(run(name, domain_quorum=2_900), "specialist", Verdict.HARMFUL) == 5 * ROUNDS


# --- What is made of it --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lines():
    names = ["honest", "free rider: zero update", "veto abuse"]
    return {name: {seed: describe(BY_NAME[name], run(name, seed), ROUNDS, seed) for seed in range(3)} for name in names}


def test_cheating_is_compared_with_the_same_seats_held_honestly(lines):
    finding = find(lines, BY_NAME["free rider: zero update"], COALITION_ROLE)
    profits = [
        lines[name][seed]["roles"][COALITION_ROLE]["profit"]
        for name in ("free rider: zero update", "honest")
        for seed in range(3)
    ]
    assert finding.advantage.point == pytest.approx((sum(profits[:3]) - sum(profits[3:])) / 3)
    assert finding.advantage.high < 0


def test_demands_name_every_honest_role_but_a_sole_holder_and_every_cheat(lines):
    scenarios = [BY_NAME[name] for name in lines]
    demands = {demand.name: demand.met for demand in demand_all(find_all(lines, scenarios))}
    assert len(demands) == 6
    assert not any(MINORITY in name for name in demands)
    assert demands["free rider: zero update: profit over honesty, upper bound"]
    assert not demands["veto abuse: profit over honesty, upper bound"]


def test_honest_proposals_are_counted_without_those_of_cheats(lines):
    calm = replace(FIGURES, other=0, other_spread=0)  # or a lone holder's update, which counts for much, harms others
    quiet = {n: {0: describe(BY_NAME[n], run(n, figures=calm), ROUNDS, 0)} for n in ("veto abuse", "honest")}
    finding = find(quiet, BY_NAME["veto abuse"], COALITION_ROLE)
    assert (finding.merged, finding.rejected) == (1, 0)
    used = find(lines, BY_NAME["veto abuse"], COALITION_ROLE)  # with effects on other domains as they are measured
    assert used.merged == 1
    assert used.rejected <= 0.06
    harmed = {0: describe(BY_NAME["honest"], run(GRIEFING[0], domain_quorum=2_900), ROUNDS, 0)}
    grief = BY_NAME[GRIEFING[0]]
    assert find({grief.name: harmed, "honest": {0: lines["honest"][0]}}, grief, COALITION_ROLE).rejected == 1


def test_every_cheat_is_compared_with_a_scenario_that_is_there():
    assert {scenario.versus for scenario in SCENARIOS} <= {"", *BY_NAME}
    assert len(BY_NAME) == len(SCENARIOS)


def test_a_strategy_is_an_honest_one_with_other_acts():
    assert cheat("x", veto=does.veto_always) == Scenario(
        "x", replace(SPECIALIST, veto=does.veto_always), versus="honest"
    )
