import errno
import importlib

import pytest

from openflock.app.failures import MENDABLE, explain
from openflock.app.settings import SettingsError
from openflock.protocol.types import Revert


@pytest.mark.parametrize("module", MENDABLE)
def test_every_mendable_failure_exists_and_reads_in_one_line(module):
    for name in MENDABLE[module]:
        kind = getattr(importlib.import_module(module), name)
        error = kind.__new__(kind)  # whatever else one is made from
        error.args = ("what\n  and   why",)
        assert explain(error) == "what and why"


def test_a_full_disk_reads_in_one_line_with_its_file():
    full = OSError(errno.ENOSPC, "No space left on device", "runs/x/blobs")
    assert (
        explain(full)
        == "no space left on device: runs/x/blobs; nothing was lost, free some space and run the same again"
    )


def test_an_os_error_without_a_file_still_reads():
    assert explain(OSError("odd")) == "odd"


@pytest.mark.parametrize("fault", [ValueError("x"), KeyError("x"), AssertionError(), RuntimeError("x")])
def test_a_fault_of_the_program_keeps_its_traceback(fault):
    assert explain(fault) is None


def test_what_is_raised_from_another_is_still_explained():
    assert explain(SettingsError("a: b")) == "a: b"
    assert explain(Revert("rounds: too early")) == "rounds: too early"
