# pragma version ==0.4.3
"""
@title Errors: one way to refuse
@license Apache-2.0
@notice Reasons read "module: reason", in the words of the specification. That
        they are raised in one place makes the task a quarter smaller.
"""


@internal
@pure
def _require(holds: bool, reason: String[48]):
    """
    @dev Reverts unless a condition holds.
    """
    assert holds, reason
