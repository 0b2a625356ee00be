import logging
from pathlib import Path

import pytest
import torch

import openflock
from openflock.learn.base import load_base
from openflock.learn.model import Model
from openflock.update.fixed import initial_state

torch.set_num_threads(1)  # before the first thread pool starts

BASE = Path(openflock.__file__).parent / "assets/base"


@pytest.fixture(scope="session")
def base_path():
    return BASE


@pytest.fixture(scope="session")
def model():
    return Model(load_base(BASE))


@pytest.fixture(scope="session")
def tokenizer(model):
    return model.tokenizer


@pytest.fixture(scope="session")
def start(model):
    return initial_state(model.layout, b"tests/learn")


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("accelerate").setLevel(logging.ERROR)
