# pragma version ==0.4.3
"""
@title Greedy: a token that takes a fee of every transfer
"""

balanceOf: public(HashMap[address, uint256])


@external
def transfer(to: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    self.balanceOf[to] += amount - 1
    return True
