import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load

from openflock.arena.attacks.bombs import list_bombs, make_float_bomb, make_zip_bomb
from openflock.protocol.recipe import Recipe
from openflock.update.admission import Inadmissible, check_admission
from openflock.update.codec import decode_update, encode_update, make_update
from openflock.update.container import Malformed
from openflock.update.fixed import initial_state

from .helpers import LAYOUT, STATE, make_delta

HONEST = encode_update(make_update(STATE, make_delta(1)))
BOMBS = list_bombs(HONEST)


def test_the_bytes_they_are_made_of_are_admitted():
    check_admission(STATE, HONEST, 2**40)


@pytest.mark.parametrize("name", BOMBS)
def test_no_bomb_is_admitted_and_none_takes_memory(name):
    tracemalloc.start()
    try:
        with pytest.raises(Inadmissible):
            check_admission(STATE, BOMBS[name], 2**40)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BOMBS)
def test_the_decoder_alone_refuses_them_too(name):
    with pytest.raises(Malformed):
        decode_update(STATE, BOMBS[name])


@pytest.mark.parametrize("encoding", ["int4", "ternary", "sparse4"])
def test_other_encodings_refuse_them_too(encoding):
    state = initial_state(LAYOUT, b"seed", Recipe(encoding=encoding))
    for blob in list_bombs(encode_update(make_update(state, make_delta(1))), size=2**10).values():
        with pytest.raises(Inadmissible):
            check_admission(state, blob, 2**40)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_float_bomb_is_what_a_careless_reader_would_load(value):
    tensors = load(make_float_bomb(HONEST, value))
    assert set(tensors) == {"B.codes", "B.scales"}
    assert not any(np.isfinite(tensor).any() for tensor in tensors.values())


def test_a_pickle_and_a_zip_bomb_are_what_they_are_called(tmp_path):
    assert pickle.loads(BOMBS["pickle"])
    path = tmp_path / "bomb"
    path.write_bytes(make_zip_bomb(1024))
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size == 1024 * 64
    assert path.stat().st_size < 4096


def test_all_bombs_differ_from_the_honest_bytes_and_from_one_another():
    assert len({HONEST, *BOMBS.values()}) == len(BOMBS) + 1
