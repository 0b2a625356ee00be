"""The machine of the specification with the contract beside it: the two must answer every call alike."""

import pytest
from hypothesis.stateful import invariant

from ..protocol.machine import TaskMachine, search
from .pair import Pair

pytestmark = pytest.mark.slow


class PairMachine(TaskMachine):
    """Every call goes to both and is compared at once; after every step all that both show is."""

    make_backend = Pair

    @invariant()
    def both_show_the_same(self):
        self.ledger.check()


class LongerMachine(PairMachine):
    """The same, searched four times as far."""


TestPair = search(PairMachine, examples=15, steps=25, shrinks=False)
TestPairLonger = pytest.mark.long(search(LongerMachine, examples=60, steps=25, shrinks=False))
