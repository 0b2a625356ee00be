# pragma version ==0.4.3
"""
@title Plenty: a token of which everybody has enough, so that tests need not mint
"""

balanceOf: public(HashMap[address, uint256])


@external
def transfer(to: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    self.balanceOf[to] += amount
    return True
