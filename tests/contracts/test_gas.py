"""No call can be made to need more than a chain lets one transaction burn."""

import pytest

from .gas import measure_silence, measure_worst

TRANSACTION_LIMIT = 2**24  # EIP-7825


@pytest.mark.slow
@pytest.mark.parametrize("measure", [measure_worst, measure_silence])
def test_the_worst_round_fits_in_its_transactions(measure):
    assert measure() < TRANSACTION_LIMIT // 2
