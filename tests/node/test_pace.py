"""How the time of a phase is shared out: to wait, to test witnesses, to send."""

import time
from threading import Event

import pytest

from openflock.node.pace import Pace, Stopped, TooLate
from openflock.node.watch import EXAMINATION, PROBE


def enter(pace, activity):
    with pace.watch(activity):
        return pace.patience


def begin(left, voting=True):
    pace = Pace(Event())
    pace.begin(left, 600, voting=voting)
    return pace


def test_a_third_of_a_phase_is_not_waited_in():
    begun = time.monotonic()
    assert begin(600).patience - begun == pytest.approx(400, abs=5)
    assert begin(150).patience < begun


def test_witnesses_are_tested_in_a_vote_until_a_sixth_of_it_is_left():
    enter(begin(110), PROBE)
    enter(begin(60), "evaluation")
    with pytest.raises(TooLate):
        enter(begin(60), PROBE)
    enter(begin(60, voting=False), PROBE)


def test_what_may_be_left_out_ends_in_its_own_time_and_so_does_all_that_it_consists_of():
    pace, hour = begin(600), 3600
    pace.spares = {EXAMINATION: time.monotonic() - 1}
    with pytest.raises(TooLate):
        enter(pace, EXAMINATION)
    pace.spares = {EXAMINATION: time.monotonic() + hour}
    pace.until += 2 * hour
    with pace.watch(EXAMINATION):
        enter(pace, "evaluation")
        pace.until -= 2 * hour  # as if so much time had passed
        with pytest.raises(TooLate):
            enter(pace, "evaluation")
    enter(pace, "evaluation")


def test_no_work_begins_after_the_phase():
    for activity in ("evaluation", PROBE):
        with pytest.raises(TooLate, match=r"lower train\.steps"):
            enter(begin(-1), activity)


def test_what_is_probed_is_waited_for_no_longer_and_the_rest_is():
    pace = begin(600)
    patience = pace.patience
    assert enter(pace, PROBE) == 0
    assert enter(pace, "evaluation") == pace.patience == patience


def test_between_rounds_there_is_time_for_work_and_none_to_wait():
    pace = begin(-1)
    pace.rest()
    assert enter(pace, "evaluation") == enter(pace, PROBE) == 0


def test_who_is_to_stop_begins_nothing():
    pace = begin(600)
    pace.stop.set()
    with pytest.raises(Stopped):
        enter(pace, "training")
