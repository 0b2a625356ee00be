# pragma version ==0.4.3
"""
@title Token: play money for development networks and tests
@license Apache-2.0
@notice Its owner mints at will. A real task takes a real token.
@custom:kill Nobody can; it is worth nothing.
"""


from snekmate.auth import ownable
from snekmate.tokens import erc20


initializes: ownable
initializes: erc20[ownable := ownable]

exports: (
    erc20.allowance,
    erc20.approve,
    erc20.balanceOf,
    erc20.decimals,
    erc20.mint,
    erc20.name,
    erc20.symbol,
    erc20.totalSupply,
    erc20.transfer,
    erc20.transferFrom,
)


@deploy
def __init__():
    """
    @notice Makes the deployer the owner.
    """
    ownable.__init__()
    erc20.__init__("OpenFlock play money", "PLAY", 18, "OpenFlock", "1")
