"""Fear: nodes that fall silent, a third or all of them, hold up the round for the others."""

from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.calls import Advance
from openflock.protocol.rules import compute_phase_times
from openflock.protocol.types import Act, Outcome, Phase

from ..protocol.helpers import NODES, Play, get_losses, get_outcome, make_ledger, play_round

lapses = st.dictionaries(st.sampled_from(Act), st.sets(st.sampled_from(NODES)))
MAX_CALLS = 13  # one for each phase, and one for a block that was not there yet


def count_advances(ledger):
    return sum(isinstance(entry.item, Advance) for entry in ledger.read(0))


@given(absent=lapses, hiding=lapses)
def test_any_silent_nodes_at_any_time_delay_a_round_by_its_deadlines_at_most(absent, hiding):
    ledger = make_ledger()
    began = ledger.get_time()
    play_round(ledger, Play(absent=absent, hiding=hiding))
    assert ledger.state.phase == Phase.GATHER
    assert count_advances(ledger) <= MAX_CALLS
    assert ledger.get_time() - began <= sum(compute_phase_times(ledger.get_genesis().rules)) + 2 * MAX_CALLS


def test_a_silent_third_does_not_even_stop_the_merge(make_task):
    silent = dict.fromkeys(Act, NODES[4:])
    ledger = play_round(make_task(), Play(absent=silent))
    assert get_outcome(ledger) == Outcome.MERGED
    assert sum(get_losses(ledger, NODES[4]).values()) == 30


def test_a_task_of_ghosts_ends_by_an_outsider_s_calls_alone(make_task):
    ledger = make_task()
    for _ in range(3):
        play_round(ledger, Play(absent=dict.fromkeys(Act, NODES)))
    assert ledger.state.phase == Phase.FINISHED
    assert count_advances(ledger) <= 3 * MAX_CALLS
