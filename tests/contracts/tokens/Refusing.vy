# pragma version ==0.4.3
"""
@title Refusing: a token that answers no instead of reverting
"""

balanceOf: public(HashMap[address, uint256])


@external
def transfer(to: address, amount: uint256) -> bool:
    return False


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    return False
