"""Fear: who lies nearer to an honest update than another honest one does is mixed with it, round after round."""

from dataclasses import replace

import numpy as np
import pytest

from openflock.protocol.recipe import Recipe
from openflock.protocol.types import Judgement, Proposal, Round, Seat, Verdict
from openflock.update.codec import digest, encode_update, make_update
from openflock.update.fixed import initial_state
from openflock.update.merge import Past, compute_merge

from ..protocol.helpers import make_rules
from ..update.examples import SMALL

FIRST, SECOND, LIAR, NEW = "0x1", "0x2", "0x3", "0x4"
ROBUST = Recipe("ffa", grouping=1000, mixing=True, aggregator="trimmed_mean", faulty=400)
REMEMBERING = replace(ROBUST, memory=3, clip=1000)
STATE = initial_state(SMALL, b"steers", ROBUST)
SIZE = STATE.layout.compute_size("B")
COMMON, CHANCE, WAY = np.full(SIZE, 4000), np.zeros(SIZE), np.zeros(SIZE)
CHANCE[: SIZE // 2 : 2], CHANCE[1 : SIZE // 2 : 2] = 1000, -1000
WAY[SIZE // 2 :: 2], WAY[SIZE // 2 + 1 :: 2] = 900, -900


def send(round_number, node):
    """What a node sends: the honest differ by chance, one way and then the other, and the liar steers."""
    if node in (LIAR, NEW):
        return make_update(STATE, {"B": (COMMON + WAY).astype(np.int64)})
    turn = 1 if (node == FIRST) == (round_number % 2 == 0) else -1
    return make_update(STATE, {"B": (COMMON + turn * CHANCE).astype(np.int64)})


def merge(recipe, liar=LIAR, rounds=2):
    """Merge what three nodes send in the last of some rounds; give what each counts for in the honest rows."""
    past = [
        Past(node, send(number, node), rounds - number) for number in range(1, rounds) for node in (FIRST, SECOND, LIAR)
    ]
    return plan(recipe, {node: send(rounds, node) for node in (FIRST, SECOND, liar)}, past)


def plan(recipe, updates, past):
    """Merge updates of a round; give what each node counts for in each row."""
    nodes, sent = list(updates), {digest(encode_update(update)): update for update in updates.values()}
    proposals = {slot: Proposal(name, 1) for slot, name in enumerate(sent)}
    seats, judged = tuple(Seat(node, 1) for node in nodes), (Judgement(Verdict.PAID),) * 3
    current = Round(len(past) + 1, proposers=seats, proposals=proposals, judgements=judged)
    state = replace(STATE, recipe=recipe)
    merged = compute_merge(make_rules(), current, state, lambda proposal: sent[proposal.digest], past)
    [group] = merged.plan.groups
    slots = [list(sent).index(digest(encode_update(update))) for update in merged.updates]
    return {
        nodes[slots[row]]: {nodes[slots[column]]: share for column, share in enumerate(shares)}
        for row, shares in enumerate(group.plan.rows)
    }


def test_it_is_everybodys_neighbour_where_rounds_are_looked_at_one_by_one():
    rows = merge(ROBUST)
    assert rows[FIRST][LIAR] > rows[FIRST][SECOND] == 0
    assert rows[SECOND][LIAR] > rows[SECOND][FIRST] == 0


@pytest.mark.parametrize("rounds", [2, 3])
def test_the_honest_are_each_others_neighbours_where_rounds_add_up(rounds):
    rows = merge(REMEMBERING, rounds=rounds)
    assert rows[FIRST][LIAR] == rows[SECOND][LIAR] == 0
    assert rows[FIRST][SECOND] > 0 < rows[SECOND][FIRST]


def test_who_steers_far_once_after_honest_rounds_is_not_drawn_to_newcomers_by_them():
    """Newcomers know each other by one round alone; the liar's honest past must not make it their nearest."""
    chance = np.zeros((3, SIZE))
    chance[0, : SIZE // 4], chance[1, SIZE // 4 : SIZE // 2], chance[2, SIZE // 2 :] = 1000, 1000, 1500
    sent = [make_update(STATE, {"B": (COMMON + each).astype(np.int64)}) for each in chance]
    honest = make_update(STATE, {"B": COMMON.astype(np.int64)})
    past = [Past(LIAR, honest, ago) for ago in range(1, 6)]
    rows = plan(replace(REMEMBERING, memory=6), dict(zip((FIRST, SECOND, LIAR), sent, strict=True)), past)
    assert rows[FIRST][LIAR] == rows[SECOND][LIAR] == 0
    assert rows[FIRST][SECOND] > 0 < rows[SECOND][FIRST]


@pytest.mark.parametrize("times", [1, 10])
def test_who_rests_and_then_steers_far_is_not_the_nearest_by_what_is_cut_of_it(times):
    """What differs by chance is nearly at right angles, and of such the shortest is nearest to all.

    Nor does it help to have sent ten times as much while it was honest.
    """
    ways = iter(np.eye(9).repeat(SIZE // 9, axis=1))

    def differ(by, times=1):
        moved = np.full(SIZE, 1000)
        moved[: 9 * (SIZE // 9)] += (by * next(ways)).astype(np.int64)
        return make_update(STATE, {"B": times * moved})

    past = [Past(node, differ(7500), ago) for node in (FIRST, SECOND) for ago in (1, 2)]
    past += [Past(LIAR, differ(7500, times), ago) for ago in (1, 2)]
    now = {FIRST: differ(7500), SECOND: differ(7500), LIAR: differ(28_000)}
    rows = plan(REMEMBERING, now, past)
    assert rows[FIRST][LIAR] == rows[SECOND][LIAR] == 0
    assert rows[FIRST][SECOND] > 0 < rows[SECOND][FIRST]


def test_a_new_name_is_not_nearer_than_the_one_before():
    rows = merge(REMEMBERING, liar=NEW, rounds=3)
    assert rows[FIRST][NEW] == rows[SECOND][NEW] == 0
