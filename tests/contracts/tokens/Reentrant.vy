# pragma version ==0.4.3
"""
@title Reentrant: a token that calls the task while the task calls it
"""

balanceOf: public(HashMap[address, uint256])
calls: public(DynArray[Bytes[260], 16])
successes: public(uint256)
attempts: public(uint256)


@external
def arm(calls: DynArray[Bytes[260], 16]):
    self.calls = calls


@external
def act(task: address, data: Bytes[260]):
    """
    @dev The token itself as a node, outside of any transfer.
    """
    raw_call(task, data)


@external
def transfer(to: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
    self._reenter(msg.sender)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    self.balanceOf[to] += amount
    self._reenter(msg.sender)
    return True


def _reenter(task: address):
    for data: Bytes[260] in self.calls:
        self.attempts += 1
        if raw_call(task, data, revert_on_failure=False):
            self.successes += 1
