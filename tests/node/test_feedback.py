import numpy as np
import pytest

from openflock.node.feedback import MAX_AGE, Feedback

SIZE = 5
FIRST, SECOND = bytes(32), bytes([1] * 32)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "node" / "feedback"


@pytest.fixture
def feedback(place):
    return Feedback(place)


def make_rest(value):
    return np.full(SIZE, value, np.int32)


def offer(feedback, value, step=0, update=FIRST, factor="B"):
    feedback.offer(factor, step, make_rest(value), update)


def keep(feedback, value, step=0, factor="B"):
    offer(feedback, value, step, factor=factor)
    feedback.settle(FIRST, merged=True, judged=False)


def recall(feedback, step=1, factor="B", size=SIZE):
    rest = feedback.recall(factor, step, size)
    assert (rest.dtype, rest.shape) == (np.int32, (size,))
    assert len(set(rest.tolist())) <= 1
    return int(rest[0])


def test_there_is_nothing_at_first(feedback):
    assert recall(feedback) == 0


def test_what_is_offered_counts_only_when_it_was_merged(feedback):
    offer(feedback, 7)
    assert recall(feedback) == 0
    feedback.settle(FIRST, merged=True, judged=False)
    assert recall(feedback) == 7


def test_a_refused_update_takes_its_rest_and_the_one_before_with_it(feedback):
    keep(feedback, 7)
    offer(feedback, 8, 2, SECOND)
    feedback.settle(SECOND, merged=False, judged=True)
    assert recall(feedback) == 0


def test_a_void_or_vetoed_round_drops_only_what_was_new(feedback):
    keep(feedback, 7)
    offer(feedback, 8, 2, SECOND)
    feedback.settle(SECOND, merged=False, judged=False)
    assert recall(feedback) == 7
    feedback.settle(SECOND, merged=True, judged=False)
    assert recall(feedback) == 7


def test_another_update_s_outcome_decides_nothing(feedback):
    keep(feedback, 7)
    offer(feedback, 8, 2, SECOND)
    for merged, judged in ((True, False), (False, True), (False, False)):
        feedback.settle(FIRST, merged=merged, judged=judged)
        assert recall(feedback, 2) == 7
    feedback.settle(SECOND, merged=True, judged=False)
    assert recall(feedback, 3) == 8


def test_an_offer_replaces_the_one_before(feedback):
    offer(feedback, 7)
    offer(feedback, 8, update=SECOND)
    feedback.settle(FIRST, merged=True, judged=False)
    assert recall(feedback) == 0
    feedback.settle(SECOND, merged=True, judged=False)
    assert recall(feedback) == 8


def test_each_factor_has_a_rest_of_its_own(feedback):
    keep(feedback, 7)
    keep(feedback, 8, factor="A")
    assert (recall(feedback), recall(feedback, factor="A")) == (7, 8)
    offer(feedback, 9, 1, SECOND, "A")
    feedback.settle(SECOND, merged=False, judged=True)
    assert (recall(feedback), recall(feedback, factor="A")) == (7, 0)


def test_an_update_of_both_factors_is_settled_at_once(feedback):
    for factor in ("A", "B"):
        offer(feedback, 7, factor=factor)
    feedback.settle(FIRST, merged=True, judged=False)
    assert (recall(feedback), recall(feedback, factor="A")) == (7, 7)


def test_a_rest_counts_from_the_next_step_until_it_is_stale(feedback):
    keep(feedback, 7, step=3)
    assert [recall(feedback, step) for step in (2, 3, 4, 3 + MAX_AGE, 4 + MAX_AGE)] == [0, 0, 7, 7, 0]


def test_a_rest_of_another_size_does_not_count(feedback):
    keep(feedback, 7)
    assert recall(feedback, size=SIZE + 1) == 0


def test_rests_survive_a_restart(feedback, place):
    keep(feedback, 7)
    offer(feedback, 8, 2, SECOND)
    assert recall(Feedback(place)) == 7
    Feedback(place).settle(SECOND, merged=True, judged=False)
    assert recall(Feedback(place), 3) == 8


def test_nobody_else_may_read_a_rest(feedback, place):
    keep(feedback, 7)
    offer(feedback, 8)
    assert place.stat().st_mode & 0o777 == 0o700
    files = sorted(place.iterdir())
    assert [file.name for file in files] == ["B.offered.safetensors", "B.safetensors"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_torn_file_is_a_lost_rest_and_no_crash(feedback, place):
    keep(feedback, 7)
    good = (place / "B.safetensors").read_bytes()
    for length in range(len(good)):
        (place / "B.safetensors").write_bytes(good[:length])
        (place / "B.offered.safetensors").write_bytes(good[:length])
        assert recall(feedback) == 0
        feedback.settle(FIRST, merged=False, judged=False)
    (place / "B.safetensors").write_bytes(good)
    assert recall(feedback) == 7


def test_a_spoiled_byte_loses_the_rest_at_most(feedback, place):
    keep(feedback, 7)
    good = (place / "B.safetensors").read_bytes()
    for at in range(8 * (8 + int.from_bytes(good[:8], "little"))):
        spoiled = bytearray(good)
        spoiled[at // 8] ^= 1 << at % 8
        for name in ("B.safetensors", "B.offered.safetensors"):
            (place / name).write_bytes(spoiled)
        assert recall(feedback) in (0, 7)
        feedback.settle(SECOND, merged=True, judged=False)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\x80\x04.", b"\0" * 100])
def test_another_file_in_its_place_is_no_rest(feedback, place, content):
    (place / "B.safetensors").write_bytes(content)
    assert recall(feedback) == 0
    keep(feedback, 7)
    assert recall(feedback) == 7


def test_what_was_offered_and_never_settled_counts_no_more_nor_does_the_rest_before_it(feedback):
    keep(feedback, 7)
    offer(feedback, 8, 2, SECOND)
    assert recall(feedback, 2) == 7  # the same round again, after a crash or a void one
    assert recall(feedback, 4) == 0
