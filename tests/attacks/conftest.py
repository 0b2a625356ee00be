"""Every fear is tried on the specification, and on the contract beside it."""

from functools import partial

import pytest

from openflock.edge.spec_ledger import SpecLedger

from ..contracts.pair import Pair
from ..protocol.helpers import make_ledger


@pytest.fixture(params=[SpecLedger, Pair], ids=["specification", "contract"], scope="session")
def make_task(request):
    """Make a funded task that nodes joined."""
    return partial(make_ledger, kind=request.param)
