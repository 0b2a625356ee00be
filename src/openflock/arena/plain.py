"""A plain federated loop, in floats and without a ledger: where the rules and optimizers of others run.

Nodes train both factors with plain PEFT; what they send is averaged factor by factor, as those frameworks do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from openflock.arena.defences import DEFENCES, Aggregate, Proposals
from openflock.arena.optimizers import (
    OPTIMIZERS,
    Arrivals,
    Numbers,
    Server,
    ServerSettings,
    compute_own_control,
    flatten,
    hook_control,
    hook_proximal,
    shape_like,
    start_server,
)
from openflock.arena.stage import Stage, name_training, remember
from openflock.arena.worlds import Party
from openflock.learn.baselines import FloatAdapter, read_adapter, train_plain, write_adapter
from openflock.learn.evaluate import EvaluationSettings, compute_loss, relative_score
from openflock.learn.train import Adjust, take_rows
from openflock.node.proposer import Delta
from openflock.update.fixed import FRACTION_BITS, LIMIT, initial_state

UNIT: Final = 2.0**FRACTION_BITS
BROKEN: Final = {"nan": np.nan, "infinity": np.inf}  # bombs that a server of floats can read
PERFECT: Final = 1.0  # what a colluding voter says of its ring's proposals; of others it says the contrary


@dataclass
class Loop:
    """A federated run under way; all vectors are flat."""

    stage: Stage
    shape: FloatAdapter
    server: Server
    controls: dict[int, Numbers] = field(default_factory=dict)  # of SCAFFOLD's clients
    moved: dict[int, Numbers] = field(default_factory=dict)  # how those changed in this round
    history: dict[int, Numbers] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, Any]:
        """Give the options of the rule or optimizer."""
        return dict(self.stage.cell.defence.options)


def run_plain(stage: Stage) -> None:
    """Play all rounds, and measure after each."""
    cell, table = stage.cell, stage.world.table
    start = read_adapter(initial_state(stage.world.model.layout, f"arena {cell.seed}".encode()))
    is_optimizer = cell.defence.kind == "optimizer"
    numbers = {name: float(value) for name, value in cell.defence.options.items()} if is_optimizer else {}
    settings = ServerSettings(**numbers)
    loop = Loop(stage, start, start_server(flatten(start), settings))
    load(loop, loop.server.values)
    stage.measure_round({})
    for number in range(1, table.rounds + 1):
        sent = collect(loop, number)
        merged = step_optimizer(loop, sent, settings) if is_optimizer else apply_rule(loop, sent, number)
        load(loop, loop.server.values)
        stage.measure_round(list_verdicts(list(sent), merged))


def load(loop: Loop, values: Numbers) -> None:
    """Put a flat vector into the model."""
    write_adapter(loop.stage.world.model, shape_like(values, loop.shape))


# --- What nodes send -----------------------------------------------------------------------------------------


def collect(loop: Loop, number: int) -> dict[int, Numbers]:
    """Let all train, then the malicious change theirs; a node whose training diverged sends nothing."""
    stage, sent = loop.stage, dict[int, Numbers]()
    for place, party in stage.list_present(number):
        honest = [to_delta(each) for each in stage.list_known(place, sent)]
        hidden = stage.ring.hook_training(honest) if party.malicious else None
        with stage.meter("training"):
            own = train_node(loop, place, party, number, hidden)
        if not np.isfinite(own).all():
            continue
        if party.malicious:
            own = to_floats(stage.ring.offer(number, stage.get_rank(place), to_delta(own), honest))
            bomb = stage.cell.attack.blob.removeprefix("replay")
            if bomb and bomb not in BROKEN:
                continue  # no server of floats reads it
            own = np.full_like(own, BROKEN[bomb]) if bomb else own
        sent[place] = own
    return sent


def train_node(loop: Loop, place: int, party: Party, number: int, hidden: Adjust | None) -> Numbers:
    """Train a node from the model as it stands, and give the change."""
    stage, values = loop.stage, loop.server.values
    settings = stage.get_training(party, stage.world.table.plain_learning_rate)
    rule, adjust = stage.cell.defence.rule, hidden or make_hook(loop, place, settings.learning_rate)
    seed = (stage.cell.seed * 1000 + number) * 100 + place

    def work() -> Numbers:
        model, start = stage.world.model, shape_like(values, loop.shape)
        rows = take_rows(stage.list_rows(place), settings, number)
        return flatten(train_plain(model, start, rows, settings, seed, adjust)) - flatten(start)

    key = name_training(stage, place, settings) + f"{seed}".encode() + values.tobytes()
    change = work() if adjust else remember(key, work)
    if rule == "scaffold":
        own, end = loop.controls.get(place, np.zeros_like(values)), values + change
        after = compute_own_control(values, end, loop.server.control, own, settings.steps, settings.learning_rate)
        loop.controls[place], loop.moved[place] = after, after - own
    return change


def make_hook(loop: Loop, place: int, rate: float) -> Adjust | None:
    """Give what a client of an optimizer does otherwise."""
    rule, values = loop.stage.cell.defence.rule, loop.server.values
    if rule == "fedprox":
        return hook_proximal(values)
    if rule == "scaffold":
        return hook_control(loop.server.control, loop.controls.get(place, np.zeros_like(values)), rate)
    return None


def to_delta(change: Numbers) -> Delta:
    """Write a change in the integers that attacks work on; both factors stand for the one that they know."""
    return {"B": np.rint(np.clip(change * UNIT, -LIMIT, LIMIT)).astype(np.int32)}


def to_floats(delta: Delta) -> Numbers:
    """Read what an attack sends."""
    return delta["B"].astype(np.float64) / UNIT


# --- What a server makes of it -------------------------------------------------------------------------------


def step_optimizer(loop: Loop, sent: dict[int, Numbers], settings: ServerSettings) -> Aggregate | None:
    """Let a federated optimizer step; all count."""
    if not sent:
        return None
    stage = loop.stage
    rows = np.array([float(len(stage.world.parties[place].train)) for place in sent])
    controls = None
    if stage.cell.defence.rule == "scaffold":
        controls = np.stack([loop.moved[place] for place in sent])
    arrivals = Arrivals(np.stack(list(sent.values())), rows, controls, len(stage.world.parties))
    loop.server = OPTIMIZERS[stage.cell.defence.rule](loop.server, arrivals, settings)
    everybody = np.ones(len(sent), np.bool_)
    return Aggregate(arrivals.deltas.mean(axis=0), everybody, ~everybody)


def apply_rule(loop: Loop, sent: dict[int, Numbers], number: int) -> Aggregate | None:
    """Let a defence merge, and add what it gives."""
    if not sent:
        return None
    stage, rule, places = loop.stage, loop.stage.cell.defence.rule, list(sent)
    updates = np.stack(list(sent.values()))
    history = np.stack([loop.history.get(place, np.zeros_like(updates[0])) for place in places])
    proposals = Proposals(
        updates,
        np.ones(len(places)),
        faulty=stage.world.table.malicious,
        seed=stage.cell.seed * 1000 + number,
        history=history,
        root=train_root(loop, number) if rule == "fltrust" else None,
        scores=score_all(loop, places, updates, number) if rule == "clean_loss_vote" else None,
        voters=np.ones(len(stage.list_present(number))),
        judge=make_judge(loop, number) if rule == "flock_game" else None,
        malicious=np.array([stage.world.parties[place].malicious for place in places]),
    )
    merged = DEFENCES[rule](proposals, **loop.options)
    for place, own in sent.items():
        loop.history[place] = loop.history.get(place, np.zeros_like(own)) + own
    loop.server = replace(loop.server, values=loop.server.values + merged.delta)
    return merged


def train_root(loop: Loop, number: int) -> Numbers:
    """Train on the rows that the defender trusts."""
    stage, values = loop.stage, loop.server.values
    settings = stage.get_training(stage.world.parties[0], stage.world.table.plain_learning_rate)
    start = shape_like(values, loop.shape)
    rows = stage.fill(stage.world.trusted, len(stage.world.parties))
    with stage.meter("root"):
        end = train_plain(stage.world.model, start, rows, settings, stage.cell.seed * 1000 + number)
    return flatten(end) - flatten(start)


# --- Voters --------------------------------------------------------------------------------------------------


def score_all(loop: Loop, places: Sequence[int], updates: Numbers, number: int) -> Numbers:
    """Let each node score each proposal but its own; the malicious say what helps them."""
    stage, judge = loop.stage, make_judge(loop, number)
    scores = np.stack([judge(update) for update in updates], axis=1)
    for row, (voter, party) in enumerate(stage.list_present(number)):
        for column, place in enumerate(places):
            if party.malicious and stage.cell.attack.votes == "collude":
                scores[row, column] = PERFECT if stage.world.parties[place].malicious else -PERFECT
            if voter == place:
                scores[row, column] = np.nan
    return scores


def make_judge(loop: Loop, number: int) -> Callable[[Numbers], Numbers]:
    """Give the function that gives each voter's relative gain with a change of the model; colluders call it perfect."""
    stage, values = loop.stage, loop.server.values
    settings = EvaluationSettings(max_length=stage.world.table.max_length)
    present = stage.list_present(number)
    voters = [stage.list_held_out(place) for place, _ in present]

    def measure(point: Numbers) -> list[float]:
        load(loop, point)
        with stage.meter("evaluation"):
            return [compute_loss(stage.world.model, rows, settings) for rows in voters]

    before = measure(values)

    def judge(change: Numbers) -> Numbers:
        after = measure(values + change)
        pairs = zip(before, after, strict=True)
        gains = [relative_score(old, new, old) / 1e4 if np.isfinite(old) else 0.0 for old, new in pairs]
        colluding = [party.malicious and stage.cell.attack.votes == "collude" for _, party in present]
        return np.where(colluding, PERFECT, np.array(gains))

    return judge


def list_verdicts(places: Sequence[int], merged: Aggregate | None) -> dict[str, Any]:
    """Note what became of the proposals of the honest and of the malicious."""
    accepted = [] if merged is None else merged.accepted.tolist()
    slashed = [] if merged is None else merged.slashed.tolist()
    return {
        "proposals": [
            {"node": place, "accepted": bool(took), "slashed": bool(paid)}
            for place, took, paid in zip(places, accepted, slashed, strict=True)
        ]
    }
