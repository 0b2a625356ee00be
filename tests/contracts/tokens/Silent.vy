# pragma version ==0.4.3
"""
@title Silent: a token that returns nothing, as some old ones do
"""

balanceOf: public(HashMap[address, uint256])


@external
def transfer(to: address, amount: uint256):
    assert amount > 0
    self.balanceOf[msg.sender] -= amount


@external
def transferFrom(owner: address, to: address, amount: uint256):
    self.balanceOf[to] += amount
