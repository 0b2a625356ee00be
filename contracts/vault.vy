# pragma version ==0.4.3
"""
@title Vault: tokens in and tokens out
@license Apache-2.0
@notice The only two places where the task touches its token. A token that
        takes a fee of transfers would make the task owe more than it holds,
        so it is refused by what actually arrived; a token that returns
        nothing is taken at its word.
"""


from ethereum.ercs import IERC20
import errors


TOKEN: immutable(IERC20)


@deploy
def __init__(token: address):
    """
    @param token The ERC-20 token of all stakes and payouts.
    """
    TOKEN = IERC20(token)


@internal
def _pull(amount: uint256):
    """
    @dev Takes `amount` from the caller; call it last.
    """
    held: uint256 = staticcall TOKEN.balanceOf(self)
    sent: bool = extcall TOKEN.transferFrom(
        msg.sender, self, amount, default_return_value=True
    )
    errors._require(sent, "stakes: the token refused")
    errors._require(staticcall TOKEN.balanceOf(self) == held + amount, "stakes: token takes a fee")


@internal
def _push(account: address, amount: uint256):
    """
    @dev Sends `amount` to `account`; call it last. Some tokens refuse to send
         nothing, so nothing is not sent.
    """
    if amount > 0:
        sent: bool = extcall TOKEN.transfer(account, amount, default_return_value=True)
        errors._require(sent, "stakes: the token refused")
