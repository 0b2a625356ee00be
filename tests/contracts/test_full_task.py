"""A task as full as it can be, on the contract and the specification at once.

It takes minutes, nearly all of them for 4,096 joins.
"""

import pytest

from openflock.protocol.types import MAX_NODES

from .gas_table import check, measure_key


@pytest.mark.long
def test_a_full_task_is_as_specified_and_burns_no_more_than_the_table_says():
    check(str(MAX_NODES), measure_key(str(MAX_NODES)))
