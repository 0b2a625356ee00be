from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.attacks.deltas import compute_length, measure_effect, measure_median
from openflock.arena.attacks.freeriding import copycat, noise, resend, zero
from openflock.update.admission import Inadmissible, check_admission
from openflock.update.codec import encode_update, make_update
from openflock.update.duplicates import find_duplicates

from .helpers import SIZE, STATE, is_legal, make_delta, make_honest, scales, seeds

OWN = make_delta(1)
HONEST = make_honest(2, 5)
ATTACKS = {
    "zero": zero,
    "noise": partial(noise, seed=1),
    "resend": partial(resend, past=make_delta(9, scale=1e9), blur=1.0),
    "copycat": copycat,
}


@given(st.sampled_from(list(ATTACKS)), seeds, st.integers(0, 6), scales)
def test_all_give_deltas_of_the_task_s_integers(name, seed, count, scale):
    assert is_legal(ATTACKS[name](make_delta(seed, scale=scale), make_honest(seed, count, scale=scale)))


def test_a_zero_update_is_an_update():
    delta = zero(OWN, HONEST)
    assert not delta["B"].any()
    check_admission(STATE, encode_update(make_update(STATE, delta)), 1)


@pytest.mark.parametrize("measure", [compute_length, measure_effect(STATE)], ids=["length", "effect"])
def test_noise_has_the_honest_norm_and_nothing_of_the_delta(measure):
    delta = noise(OWN, HONEST, seed=4, measure=measure)
    assert measure(delta) == pytest.approx(measure_median(OWN, HONEST, measure), rel=1e-2)
    cosine = delta["B"].astype(float) @ OWN["B"] / (compute_length(delta) * compute_length(OWN))
    assert abs(cosine) < 0.5
    assert (delta["B"] == noise(make_delta(8), HONEST, seed=4, measure=measure)["B"]).all()


def test_what_is_resent_is_the_past_and_fits_the_round():
    past = make_delta(3)
    assert (resend(OWN, (), past=past)["B"] == past["B"]).all()
    for other in ({"A": past["B"]}, {"B": past["B"][1:]}):
        with pytest.raises(ValueError, match="not of what this round trains"):
            resend(OWN, (), past=other)


def test_a_resent_delta_is_admitted_where_its_old_bytes_are_not():
    later = replace(STATE, step=2)
    with pytest.raises(Inadmissible):
        check_admission(later, encode_update(make_update(STATE, make_delta(3))), 2**40)
    blob = encode_update(make_update(later, resend(OWN, (), past=make_delta(3))))
    check_admission(later, blob, 2**40)


@given(seeds, st.integers(0, 4), st.floats(0, 2))
def test_a_copy_lies_as_far_off_as_its_blur(seed, whom, blur):
    copy, victim = copycat(OWN, HONEST, whom=whom, blur=blur, seed=seed), HONEST[whom]
    away = np.linalg.norm(copy["B"].astype(np.float64) - victim["B"])
    assert away == pytest.approx(blur * compute_length(victim), rel=0.35, abs=SIZE)


@pytest.mark.parametrize(("blur", "original"), [(0.05, 0), (0.3, 0), (0.7, 1)])
def test_a_blurred_copy_passes_for_another_s_only_when_it_is_hardly_like_it(blur, original):
    wide = make_honest(2, 1)
    updates = [make_update(STATE, delta) for delta in (wide[0], copycat(OWN, wide, blur=blur, seed=5))]
    assert find_duplicates(STATE, updates, 900) == (0, original)
