"""A blob or a model that is a pickle runs code in whoever loads it; nothing here loads one."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

import openflock
from openflock.edge.blobs import DirectoryStore
from openflock.learn.base import BaseError, load_base
from openflock.learn.checkpoint import read_checkpoint
from openflock.node.reader import Reader
from openflock.protocol.job import BadJob, decode_job
from openflock.update.admission import Inadmissible, check_admission
from openflock.update.codec import decode_state
from openflock.update.container import Malformed
from openflock.update.fixed import Layout, Module, initial_state

STATE = initial_state(Layout((Module("q", 3, 2),), 2, 4), b"seed")


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def make_pickle(mark, path):
    return pickle.dumps(Bomb(mark))


def make_torch(mark, path):
    torch.save({"weight": torch.zeros(2), "bomb": Bomb(mark)}, path)
    return path.read_bytes()


def make_numpy(mark, path):
    np.save(path.with_suffix(".npy"), np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    return path.with_suffix(".npy").read_bytes()


BOMBS = [make_pickle, make_torch, make_numpy]


@pytest.fixture
def mark(tmp_path):
    return tmp_path / "exploded"


def test_the_bomb_is_live(mark):
    pickle.loads(make_pickle(mark, None))
    assert mark.exists()


@pytest.mark.parametrize("make", BOMBS)
def test_a_pickle_is_no_update_state_or_job(make, mark, tmp_path):
    blob = make(mark, tmp_path / "file.bin")
    with pytest.raises(Inadmissible):
        check_admission(STATE, blob, 2**40)
    with pytest.raises(Malformed):
        decode_state(blob)
    with pytest.raises(BadJob):
        decode_job(blob)
    reader = Reader(DirectoryStore(tmp_path / "blobs"))
    with pytest.raises(Malformed):
        reader.fetch_state(reader.store.put(blob))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.safetensors"])
@pytest.mark.parametrize("make", BOMBS[:2])
def test_a_base_of_pickled_weights_is_refused(make, name, mark, tmp_path):
    base = Path(openflock.__file__).parent / "assets/base"
    folder = tmp_path / "model"
    folder.mkdir()
    for file in base.iterdir():
        if file.name != "model.safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    (folder / name).write_bytes(make(mark, tmp_path / "file.bin"))
    with pytest.raises(BaseError):
        load_base(folder)
    assert not mark.exists()


@pytest.mark.parametrize("make", BOMBS)
def test_a_checkpoint_that_is_a_pickle_is_ignored(make, mark, tmp_path):
    (tmp_path / "train.safetensors").write_bytes(make(mark, tmp_path / "file.bin"))
    assert read_checkpoint(tmp_path, "inputs", {}, None) == 0
    assert not mark.exists()


def test_the_package_names_no_unpickler():
    for file in Path(openflock.__file__).parent.rglob("*.py"):
        text = file.read_text()
        for word in ("import pickle", "torch.load(", "allow_pickle", "trust_remote_code=True", "import joblib"):
            assert word not in text, f"{file}: {word}"
