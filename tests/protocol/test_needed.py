from openflock.protocol.ballot import Mark
from openflock.protocol.calls import Cancel
from openflock.protocol.needed import list_needed
from openflock.protocol.replay import Replica
from openflock.protocol.types import Act, Flag, Phase

from .helpers import (
    ACCUSER,
    CREATOR,
    NODES,
    PROPOSER,
    RIVAL,
    Play,
    against,
    get_outcome,
    make_digest,
    make_genesis,
    make_ledger,
    play_round,
)

GENESIS = make_genesis()
ALWAYS = {GENESIS.rules.job, GENESIS.rules.genesis}
HARM = Mark(-500)


def compute_needed(ledger):
    genesis = ledger.get_genesis()
    return set(list_needed(genesis, Replica(genesis).follow(ledger.read(0))))


def name_updates(number, nodes=NODES):
    return {make_digest(f"update {node} {number}") for node in nodes}


def test_a_new_task_needs_its_job_and_its_first_state():
    assert list_needed(GENESIS, []) == ALWAYS
    assert compute_needed(make_ledger()) == ALWAYS


def test_a_running_round_needs_all_that_it_has_named():
    play = Play(witnesses={ACCUSER: (PROPOSER, 100)})
    ledger = make_ledger()
    assert compute_needed(play_round(ledger, play, until=Phase.PUBLISH)) == ALWAYS  # what is hidden has no name
    named = ALWAYS | name_updates(1)
    assert compute_needed(play_round(ledger, play, until=Phase.PROBE)) == named
    named |= {make_digest(f"witness {ACCUSER}")}
    assert compute_needed(play_round(ledger, play, until=Phase.CONFIRM)) == named


def test_what_is_attested_is_needed_before_the_round_ends():
    play = Play(digest=lambda node, act: make_digest(f"state of {node}"))
    ledger = play_round(make_ledger(), play, until=Phase.REATTEST)
    assert {make_digest(f"state of {node}") for node in NODES} <= compute_needed(ledger)


def test_of_ended_rounds_the_merged_updates_and_every_state_are_needed():
    ledger = make_ledger()
    play_round(ledger, Play(mark=against(RIVAL, HARM), digest=lambda *_: make_digest("second")))
    kept = ALWAYS | name_updates(1) - name_updates(1, [RIVAL]) | {make_digest("second")}
    assert compute_needed(ledger) == kept
    play_round(ledger, Play(digest=lambda *_: make_digest("third")))
    assert compute_needed(ledger) == kept | name_updates(2) | {make_digest("third")}


def test_an_update_slashed_for_its_form_is_needed_to_prove_it():
    ledger = play_round(make_ledger(), Play(mark=against(RIVAL, Mark(0, Flag.INADMISSIBLE))))
    assert name_updates(1, [RIVAL]) <= compute_needed(ledger)


def test_a_void_round_needs_nothing_once_it_is_over():
    ledger = play_round(make_ledger(), Play(absent={Act.BALLOT: NODES}))
    assert get_outcome(ledger).name == "VOID"
    assert compute_needed(ledger) == ALWAYS


def test_a_task_that_is_over_needs_nothing():
    ledger = make_ledger(rounds=1)
    play_round(ledger)
    assert ledger.state.phase == Phase.FINISHED
    assert compute_needed(ledger) == set()


def test_a_cancelled_task_needs_nothing_after_its_last_round():
    ledger = play_round(make_ledger(), until=Phase.VOTE)
    ledger.submit(Cancel(CREATOR))
    assert compute_needed(ledger) == ALWAYS | name_updates(1)
    play_round(ledger)
    assert compute_needed(ledger) == set()
