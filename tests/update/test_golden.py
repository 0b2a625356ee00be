"""Pin every bit of a short history: whoever changes one of these breaks the replay of all tasks."""

import os
import subprocess
import sys

from . import golden

HISTORY = [
    "bdc92bc1069664704213deb077a52768863e6bfcd35585da78cf50043e28bfb1",  # the initial state
    "baeba799c9fd6757403ccc8ae47636abb3ac9c3c73e21d5b932919ec1e417f5d",  # an update of B
    "269078364243710139167357679/618970019642690137449562112",  # its squared norm
    "(0, 1, 0, 3)",  # the third proposal copies the first
    "c8698b622a30d3f10d2b02ea46177aff170bf6c4ce41e3bd2dfad371cf359e57",  # the state after one step
    "da963e3bd994ac8e48393f45021c271099bc9a775814332fca62b613362d4367",  # an update of A
    "129816595920425845796016481/9903520314283042199192993792",
    "(0, 1, 0, 3)",
    "423090405b6c62da14c8fe830ab15883ccfb9c5ca919a0b770fff8d558ce7542",  # the state after two steps
]


def test_history_is_as_it_always_was():
    assert golden.tell_history() == HISTORY


def test_history_does_not_depend_on_threads():
    environment = os.environ | {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "PYTHONHASHSEED": "7"}
    told = subprocess.run(
        [sys.executable, golden.__file__], env=environment, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines() == HISTORY
