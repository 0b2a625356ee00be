from dataclasses import replace
from random import Random
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.audit import audit
from openflock.edge.blobs import DirectoryStore
from openflock.learn.train import TrainError
from openflock.node.daemon import Daemon, compute_backoff, compute_pause
from openflock.node.duties import (
    TURN,
    Keeper,
    Player,
    Withdrawer,
    compute_turn,
    compute_wait,
    has_part,
    is_due,
    is_patient,
    settle_up,
)
from openflock.node.pace import Pace, Stopped, TooLate, compute_interval
from openflock.node.reader import Reader
from openflock.node.recovery import list_merges, rebuild_state
from openflock.protocol.calls import Advance, Cancel, Claim, Commit, Join, Leave, Settled, Slashed, Withdraw
from openflock.protocol.ports import BlobCorrupt, BlobMissing, Unreachable
from openflock.protocol.recipe import Recipe
from openflock.protocol.replay import Divergence
from openflock.protocol.types import Node, Outcome, Phase, Revert

from ..protocol.helpers import (
    CREATOR,
    NODES,
    OUTSIDER,
    PROPOSER,
    STAKE,
    VOTER,
    get_events,
    make_genesis,
    make_ledger,
    make_rules,
    play_round,
)
from .helpers import make_camp

ROLES = ("proposer", "rival", "voter")
LOOKS = 2000  # of all daemons, in a task of one round


class Diary:
    """A log that a test reads."""

    def __init__(self):
        self.lines = []

    def info(self, event, **fields):
        self.lines.append((event, fields))

    warning = exception = info

    def list_events(self):
        return [event for event, _ in self.lines]


class Flaky:
    """A port that answers every few calls with nothing: some of these calls were never made, of others the answer
    got lost."""

    def __init__(self, port, seed, share=0.3):
        self.port, self.random, self.share = port, Random(seed), share

    def __getattr__(self, name):
        method = getattr(self.port, name)

        def call(*args):
            lost = self.random.random()
            if lost < self.share / 2:
                raise Unreachable("no route")
            answer = method(*args)
            if lost < self.share:
                raise Unreachable("the answer got lost")
            return answer

        return call if callable(method) else method


def make_daemon(node, ledger, clock=None, **options):
    """The daemon of one node; a test steps it."""
    me, clock, stop = node.identity.address, clock or ledger, Event()
    duties = [Player(node, lambda: ledger.read(0), Pace(stop)), Keeper(me, clock), settle_up(me)]
    over = lambda state: state.phase == Phase.FINISHED  # noqa: E731
    return Daemon(ledger, clock, duties, Diary(), over, stop=stop, **options)


def play(ledger, daemons, until=None):
    """Step the daemons in turn, and let a second pass whenever none of them changed anything."""
    for _ in range(LOOKS):
        if until is not None and ledger.state.phase == until:
            return daemons
        seen = len(ledger.read(0))
        pauses = [daemon.step() for daemon in daemons]
        if all(pause < 0 for pause in pauses):
            return daemons
        if len(ledger.read(0)) == seen:
            ledger.wait_until(ledger.get_time() + 1)
    raise AssertionError(f"the task stands still in {ledger.state.phase.name}")


def play_first_round(tmp_path):
    """A camp between the rounds of a task of two."""
    camp = pitch(tmp_path, rounds=2)
    ledger = camp.open_ledger()
    daemons = [make_daemon(node, ledger) for node in camp.nodes]
    play(ledger, daemons, until=Phase.PROPOSE)
    play(ledger, daemons, until=Phase.GATHER)
    return camp, ledger, daemons


def summarize(ledger):
    """What came of a task: outcomes, digests, what was taken."""
    settled = [(event.outcome, event.digest) for event in get_events(ledger, Settled)]
    return settled, get_events(ledger, Slashed)


def pitch(tmp_path, **rules):
    """A camp of three nodes, from files if they are there."""
    camp = make_camp(tmp_path, **{"rounds": 1, **rules})
    for position, role in enumerate(ROLES):
        camp.pitch(role, position % 2)
    return camp


def crash(camp, **rules):
    """The camp's nodes anew: memory is lost, files are not."""
    camp.journal.close()
    return pitch(camp.path, **rules)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What comes of a task in which nothing fails."""
    camp = pitch(tmp_path_factory.mktemp("undisturbed"))
    ledger = camp.open_ledger()
    play(ledger, [make_daemon(node, ledger) for node in camp.nodes])
    return ledger


# --- Whole tasks ---------------------------------------------------------------------------------------------


def test_daemons_play_a_task_to_its_end_and_take_home_what_they_earned(undisturbed):
    settled, slashed = summarize(undisturbed)
    assert [outcome for outcome, _ in settled] == [Outcome.MERGED]
    assert slashed == []
    state = undisturbed.state
    assert state.phase == Phase.FINISHED
    assert all(node.release for node in state.nodes.values())
    assert not any(state.payable.get(node) for node in state.nodes)


def test_every_call_is_made_once(undisturbed):
    calls = [entry.item for entry in undisturbed.read(0) if isinstance(entry.item, Commit)]
    assert len(calls) == len({(call.sender, call.act) for call in calls}) == 9


@pytest.mark.parametrize("phase", list(Phase)[1:-3])
def test_who_crashes_in_any_phase_goes_on_as_if_nothing_had_been(tmp_path, undisturbed, phase):
    camp = pitch(tmp_path)
    ledger = camp.open_ledger()
    play(ledger, [make_daemon(node, ledger) for node in camp.nodes], until=phase)
    play(ledger, [make_daemon(node, ledger) for node in crash(camp).nodes])
    assert summarize(ledger) == summarize(undisturbed)


@pytest.mark.parametrize("seed", range(3))
def test_a_ledger_that_does_not_answer_changes_nothing_in_the_outcome(tmp_path, undisturbed, seed):
    camp = pitch(tmp_path)
    ledger = camp.open_ledger()
    daemons = []
    while len(daemons) < len(ROLES):
        try:
            flaky = Flaky(ledger, 10 * seed + len(daemons))
            daemons.append(make_daemon(camp.nodes[len(daemons)], flaky, flaky))
        except Unreachable:
            seed += 100
    play(ledger, daemons)
    assert summarize(ledger) == summarize(undisturbed)
    assert {event for daemon in daemons for event in daemon.log.list_events()} <= {"calls", "unreachable", "refused"}


@pytest.mark.parametrize(("seed", "is_noticed"), [(1, False), (2, True), (3, True), (4, True)])
def test_a_store_that_does_not_answer_changes_nothing_in_the_outcome(tmp_path, undisturbed, seed, is_noticed):
    camp = pitch(tmp_path)
    for position, node in enumerate(camp.nodes):
        node.reader = Reader(Flaky(camp.reader.store, 10 * seed + position))
    ledger = camp.open_ledger()
    daemons = play(ledger, [make_daemon(node, ledger) for node in camp.nodes])
    assert summarize(ledger) == summarize(undisturbed)
    # with seed 1 all that is lost is what a voter can do without
    assert (sum(daemon.errors for daemon in daemons) > 0) == is_noticed


def test_half_of_the_nodes_may_come_late_or_never(tmp_path):
    camp = pitch(tmp_path, min_nodes=3)
    ledger = camp.open_ledger()
    play(ledger, [make_daemon(node, ledger) for node in camp.nodes], until=Phase.PROPOSE)
    play(ledger, [make_daemon(node, ledger) for node in camp.nodes[:2]])
    assert summarize(ledger)[0][0][0] == Outcome.MERGED  # two of three weights suffice
    assert {event.node for event in summarize(ledger)[1]} == {camp.nodes[2].identity.address}


def test_a_latecomer_catches_up_from_ledger_and_blobs_alone(tmp_path):
    camp, ledger, daemons = play_first_round(tmp_path)
    latecomer = make_daemon(camp.pitch("latecomer", 0), ledger)
    play(ledger, [*daemons, latecomer])
    assert len(ledger.state.ended.proposals) == len(ledger.state.ended.ballots) == 4
    assert [outcome for outcome, _ in summarize(ledger)[0]] == [Outcome.MERGED] * 2


# --- Where a store fails -------------------------------------------------------------------------------------


class Holding:
    """A store that fails for some blobs, for a while."""

    def __init__(self, store, error):
        self.store, self.error, self.held = store, error, set()
        self.put, self.put_stream = store.put, store.put_stream

    def fetch(self, digest, max_size):
        if digest in self.held:
            raise self.error
        return self.store.fetch(digest, max_size)


PHASES = ("gather", "propose", "publish", "probe", "expose", "vote", "reveal", "attest", "confirm")
HOURS = {**dict.fromkeys(PHASES, 3600), "unbonding": 20 * 3600}
ERRORS = [BlobMissing("not there"), BlobCorrupt("other bytes"), Unreachable("no route")]


@pytest.mark.parametrize("error", ERRORS)
def test_a_voter_waits_for_an_update_and_votes_in_time_without_it(tmp_path, error):
    camp = pitch(tmp_path)
    ledger = camp.open_ledger()
    daemons = [make_daemon(node, ledger) for node in camp.nodes]
    play(ledger, daemons, until=Phase.PUBLISH)
    voter = daemons[2]
    store = Holding(camp.reader.store, error)
    camp.nodes[2].reader = Reader(store)
    store.held = {camp.nodes[0]._recall(ledger.state, 0).digest}
    play(ledger, daemons, until=Phase.VOTE)
    while is_patient(ledger.state, ledger.get_time()):
        assert voter.step() > 0
        assert (2, voter.duties[0].node.identity.address) not in ledger.state.round.commitments
        ledger.wait_until(ledger.get_time() + 1)
    voter.step()
    assert (2, voter.duties[0].node.identity.address) in ledger.state.round.commitments
    assert ledger.get_time() <= ledger.state.deadline


def test_an_update_that_comes_late_is_judged(tmp_path, undisturbed):
    camp = pitch(tmp_path)
    ledger = camp.open_ledger()
    daemons = [make_daemon(node, ledger) for node in camp.nodes]
    play(ledger, daemons, until=Phase.PUBLISH)
    store = Holding(camp.reader.store, ERRORS[0])
    camp.nodes[2].reader = Reader(store)
    store.held = {camp.nodes[0]._recall(ledger.state, 0).digest}
    play(ledger, daemons, until=Phase.VOTE)
    daemons[2].step()
    store.held = set()
    play(ledger, daemons)
    assert summarize(ledger) == summarize(undisturbed)


def test_a_state_that_no_store_holds_is_merged_again(tmp_path):
    camp, ledger, _ = play_first_round(tmp_path)
    path = camp.reader.store.directory / ledger.state.digest.hex()
    path.unlink()
    play(ledger, [make_daemon(node, ledger) for node in crash(camp, rounds=2).nodes])
    assert path.exists()
    assert [outcome for outcome, _ in summarize(ledger)[0]] == [Outcome.MERGED] * 2
    assert summarize(ledger)[1] == []


class Hiccuping(Holding):
    """A store whose first put fails."""

    def __init__(self, store, error):
        super().__init__(store, error)
        self.failed, self.put = False, self.put_once_more

    def put_once_more(self, data):
        if not self.failed:
            self.failed = True
            raise self.error
        return self.store.put(data)


def test_a_store_that_fails_once_has_the_state_all_the_same(tmp_path):
    camp = pitch(tmp_path)
    ledger = camp.open_ledger()
    daemons = [make_daemon(node, ledger) for node in camp.nodes]
    play(ledger, daemons, until=Phase.ATTEST)
    for node in camp.nodes:
        node.reader = Reader(Hiccuping(camp.reader.store, ERRORS[2]))
    play(ledger, daemons)
    assert all(node.reader.store.failed for node in camp.nodes)
    assert camp.reader.store.locate(ledger.state.digest).exists()


def test_a_state_that_trickles_in_is_merged_again(tmp_path):
    camp, ledger, _ = play_first_round(tmp_path)
    store = Holding(camp.reader.store, ERRORS[2])
    store.held = {ledger.state.digest}
    fresh = crash(camp, rounds=2).nodes
    fresh[2].reader = Reader(store)
    store.put_stream = lambda parts: store.held.clear() or camp.reader.store.put_stream(parts)
    play(ledger, [make_daemon(node, ledger) for node in fresh])
    assert store.held == set()
    assert [outcome for outcome, _ in summarize(ledger)[0]] == [Outcome.MERGED] * 2
    assert summarize(ledger)[1] == []


def test_what_cannot_be_merged_again_is_named(tmp_path):
    camp = pitch(tmp_path)
    ledger = camp.open_ledger()
    play(ledger, [make_daemon(node, ledger) for node in camp.nodes])
    state = ledger.state
    for digest in (state.digest, state.ended.proposals[0].digest):
        (camp.reader.store.directory / digest.hex()).unlink()
    reader = Reader(DirectoryStore(camp.reader.store.directory))
    with pytest.raises(BlobMissing, match=f"{state.digest.hex()} is in no store.*round 1"):
        rebuild_state(ledger.get_genesis(), ledger.read(0), reader)
    assert [merge.after for merge in list_merges(ledger.get_genesis(), ledger.read(0))] == [state.digest]


def test_what_was_merged_by_a_memory_is_merged_again_by_the_log(tmp_path):
    recipe = Recipe("ffa", mixing=True, aggregator="trimmed_mean", faulty=400, memory=3, clip=1000)
    camp = pitch(tmp_path, rounds=3, recipe=recipe)
    ledger = camp.open_ledger()
    play(ledger, [make_daemon(node, ledger) for node in camp.nodes])
    assert [outcome for outcome, _ in summarize(ledger)[0]] == [Outcome.MERGED] * 3
    states = [merge.after for merge in list_merges(ledger.get_genesis(), ledger.read(0))]
    for digest in states[1:]:
        (camp.reader.store.directory / digest.hex()).unlink()
    reader = Reader(DirectoryStore(camp.reader.store.directory))
    rebuild_state(ledger.get_genesis(), ledger.read(0), reader)
    assert reader.store.locate(states[-1]).exists()
    assert audit(ledger.get_genesis(), ledger.read(0), reader.store).merges == 3


# --- What it does when things go wrong -----------------------------------------------------------------------


class Scripted:
    """A ledger that answers the next calls as a script says."""

    def __init__(self, ledger, *answers):
        self.ledger, self.answers, self.submitted = ledger, list(answers), []
        self.get_genesis, self.read = ledger.get_genesis, ledger.read

    def submit(self, call):
        self.submitted.append(call)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


JOIN = Join(OUTSIDER, 0, STAKE)


def watch(ledger, *duties, **options):
    return Daemon(ledger, make_ledger(), duties, Diary(), lambda state: False, **options)


def test_what_was_asked_is_asked_again_as_it_was_until_the_log_shows_it():
    calls = iter([JOIN, Cancel(CREATOR)])
    ledger = Scripted(make_ledger(), Unreachable("no route"))
    daemon = watch(ledger, lambda state, now: next(calls))
    daemon.step()
    daemon.step()
    assert ledger.submitted == [JOIN, JOIN]
    ledger.ledger.submit(JOIN)
    daemon.step()
    assert ledger.submitted[2:] == [Cancel(CREATOR)]


def test_what_was_refused_is_decided_anew():
    calls = iter([JOIN, Cancel(CREATOR)])
    ledger = Scripted(make_ledger(), Revert("stakes: already a node"))
    daemon = watch(ledger, lambda state, now: next(calls))
    daemon.step()
    daemon.step()
    assert ledger.submitted == [JOIN, Cancel(CREATOR)]
    assert daemon.log.lines[1] == ("refused", {**daemon.describe(), "reason": "stakes: already a node"})


def test_what_a_phase_asked_for_is_not_asked_in_the_next():
    calls = iter([Advance(OUTSIDER)])
    play_to = make_ledger()
    ledger = Scripted(play_to, Unreachable("no route"))
    daemon = watch(ledger, lambda state, now: next(calls, None))
    daemon.step()
    play_round(play_to, until=Phase.DRAW)
    daemon.step()
    assert ledger.submitted == [Advance(OUTSIDER)]


def test_a_fault_that_nobody_foresaw_is_logged_and_survived():
    def stumble(state, now):
        raise ZeroDivisionError("one over none")

    daemon = watch(make_ledger(), stumble)
    assert daemon.step() > 0
    assert daemon.log.list_events() == ["failed"]
    assert (daemon.errors, daemon.last_error) == (1, "one over none")


def test_the_same_trouble_is_told_once():
    ledger = Scripted(make_ledger(), *[Unreachable("no route")] * 5)
    daemon = watch(ledger, lambda state, now: JOIN)
    for _ in range(5):
        daemon.step()
    assert daemon.log.list_events() == ["calls", "unreachable"]


def test_a_log_that_the_rules_could_not_have_produced_ends_it():
    ledger = make_ledger()
    daemon = watch(ledger)
    ledger._log.append(replace(ledger.read(0)[-1], item=Slashed(NODES[0], 0, 1)))
    with pytest.raises(Divergence):
        daemon.step()


def test_a_stop_during_work_ends_it_and_is_no_error():
    stop = Event()
    pace = Pace(stop)

    def work(state, now):
        stop.set()
        pace.check()

    daemon = watch(make_ledger(), work, stop=stop)
    assert daemon.step() < 0
    daemon.run()
    assert daemon.log.lines == []


def test_a_training_that_diverges_is_said_once_and_not_tried_again_in_its_round(tmp_path):
    camp = pitch(tmp_path)
    tries = []

    def diverge(*_, **__):
        tries.append(1)
        raise TrainError("train: the loss is nan at step 3; lower the learning rate")

    camp.nodes[0].decide = diverge
    daemon = make_daemon(camp.nodes[0], camp.open_ledger())
    for _ in range(3):
        daemon.step()
    assert len(tries) == 1
    assert daemon.log.list_events() == ["diverged"]


def test_work_that_outlasts_its_phase_is_given_up():
    with pytest.raises(TooLate, match=r"lower train\.steps"):
        Pace(Event(), until=-1).check()
    with pytest.raises(Stopped), Pace(set_event()).watch("training"):
        pass
    Pace(Event()).check()


def set_event():
    event = Event()
    event.set()
    return event


def test_a_line_shows_neither_salt_nor_what_it_hides(tmp_path):
    camp = pitch(tmp_path)
    ledger = camp.open_ledger()
    daemons = [make_daemon(node, ledger) for node in camp.nodes]
    play(ledger, daemons)
    salts = [entry.item.salt for entry in ledger.read(0) if hasattr(entry.item, "salt")]
    shown = repr([daemon.log.lines for daemon in daemons])
    assert salts
    assert not any(repr(salt) in shown or salt.hex() in shown for salt in salts)
    assert all(word not in shown for word in ("commitment", "salt", "ballot'"))


# --- To keep the task going ----------------------------------------------------------------------------------


def test_a_turn_comes_to_each_member_once_and_in_another_order_in_each_phase():
    ledger = make_ledger()
    orders = set()
    for phase in (Phase.GATHER, Phase.DRAW, Phase.PROPOSE, Phase.VOTE):
        state = replace(ledger.state, phase=phase)
        turns = [compute_turn(state, node) for node in NODES]
        assert sorted(turns) == list(range(len(NODES)))
        orders.add(tuple(turns))
    assert len(orders) > 1


def test_the_first_advances_at_once_and_the_others_wait_for_their_turn():
    ledger = make_ledger()
    state, now = ledger.state, ledger.state.deadline + 1
    keepers = {compute_turn(state, node): Keeper(node, ledger) for node in NODES}
    for moment in range(now, now + TURN * len(NODES)):
        willing = [turn for turn, keeper in keepers.items() if keeper(state, moment)]
        assert sorted(willing) == list(range(min(len(NODES), 2 ** (1 + (moment - now) // TURN) - 1)))


def test_many_who_never_act_delay_a_phase_by_seconds():
    assert [compute_wait(before, make_rules()) for before in (0, 1, 2, 3, 6, 7, 4095)] == [0, 3, 3, 6, 6, 9, 36]
    assert compute_wait(4095, make_rules(**HOURS)) == 180


def test_who_left_can_still_move_the_task_on_to_where_stakes_are_returned():
    ledger = make_ledger()
    node = NODES[0]
    state = replace(ledger.state, members=[])
    assert Keeper(node, ledger)(state, state.deadline + 1) == Advance(node)


@given(st.integers(0, 10**6), st.integers(0, 200))
def test_nobody_advances_too_early(late, before):
    ledger = make_ledger()
    keeper = Keeper(NODES[late % len(NODES)], ledger)
    assert keeper(ledger.state, ledger.state.deadline - before) is None


def test_an_outsider_advances_nothing():
    ledger = make_ledger()
    assert Keeper(OUTSIDER, ledger)(ledger.state, ledger.state.deadline + 10**6) is None


def test_a_draw_is_due_once_its_block_is_there():
    ledger = play_round(make_ledger(), until=Phase.DRAW)
    due = []
    for _ in range(6):
        due.append((ledger.get_block() > ledger.state.round.target, is_due(ledger.state, 0, ledger)))
        ledger.wait_until(0)
    assert [said for _, said in due] == [there for there, _ in due]
    assert due[-1][1]


def test_a_phase_that_all_completed_is_due_and_a_finished_task_never():
    ledger = play_round(make_ledger(rounds=1), until=Phase.PUBLISH)
    assert not is_due(ledger.state, ledger.get_time(), ledger)
    play_round(ledger)
    assert ledger.state.phase == Phase.FINISHED
    assert not is_due(ledger.state, 10**10, ledger)


# --- To take one's money home --------------------------------------------------------------------------------


def test_a_withdrawer_leaves_claims_and_takes_its_stake_once_it_is_released():
    ledger = play_round(make_ledger(rounds=2))
    withdraw = Withdrawer(PROPOSER)
    calls = []
    for _ in range(3):
        call = withdraw(ledger.state, ledger.get_time())
        if call is None:
            ledger.wait_until(ledger.state.nodes[PROPOSER].release)
            call = withdraw(ledger.state, ledger.get_time())
        ledger.submit(call)
        calls.append(type(call))
    assert calls == [Leave, Claim, Withdraw]
    assert withdraw(ledger.state, ledger.get_time()) is None


def test_a_withdrawer_waits_where_nobody_may_leave():
    ledger = play_round(make_ledger(), until=Phase.VOTE)
    assert Withdrawer(PROPOSER)(ledger.state, ledger.get_time()) is None


def test_a_node_settles_up_only_once_the_task_is_over():
    ledger = play_round(make_ledger(rounds=2))
    assert settle_up(PROPOSER)(ledger.state, ledger.get_time()) is None
    play_round(ledger)
    assert settle_up(PROPOSER)(ledger.state, ledger.get_time()) == Leave(PROPOSER)


# --- How long to wait ----------------------------------------------------------------------------------------


@given(st.integers(1, 60), st.floats(0.1, 60))
def test_a_backoff_grows_and_is_bounded(failures, interval):
    assert interval <= compute_backoff(failures, interval) <= max(60, interval)
    assert compute_backoff(failures, interval) <= compute_backoff(failures + 1, interval)


@given(st.integers(-100, 10**6))
def test_nobody_sleeps_past_a_deadline_or_too_long(left):
    state = make_ledger().state
    pause = compute_pause(state, state.deadline - left, 1.0)
    assert 1.0 <= pause <= 15
    assert pause <= max(1.0, left + 1)
    assert compute_pause(replace(state, phase=Phase.VOTE), state.deadline - left, 1.0) == 1.0


def test_short_phases_are_looked_at_often_and_long_ones_seldom():
    assert compute_interval(make_rules()) == 1
    assert compute_interval(make_rules(**HOURS)) == 15


def test_a_round_asks_its_seats_and_an_appeal_all_members():
    state = play_round(make_ledger(), until=Phase.PROPOSE).state
    assert has_part(state, VOTER)
    assert not has_part(state, OUTSIDER)
    assert has_part(replace(state, members=[], nodes={VOTER: Node(0, 1)}), VOTER)


def test_the_genesis_of_a_ledger_is_asked_for_once():
    ledger = Scripted(make_ledger())
    asked = []
    ledger.get_genesis = lambda: asked.append(1) or make_genesis()
    daemon = watch(ledger)
    daemon.step()
    daemon.step()
    assert asked == [1]
