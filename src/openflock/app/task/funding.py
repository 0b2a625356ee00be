"""Put tokens into a task, send them on, and end a task: what people do with a wallet."""

from eth_account.signers.local import LocalAccount
from eth_typing import HexStr
from web3 import Web3
from web3.exceptions import BadFunctionCallOutput, ContractLogicError

from openflock.app.settings import TOKEN, SettingsError
from openflock.app.tables import format_tokens
from openflock.app.task.view import check_contract, read_standing
from openflock.app.words import format_span
from openflock.edge.evm_ledger import EvmLedger, get_contract
from openflock.edge.transactions import send
from openflock.protocol.calls import Cancel, Claim, Fund
from openflock.protocol.rules import Rules
from openflock.protocol.types import Address, Amount

DECIMALS = 18
TELL_NUMBER = HexStr("0x4360005260206000f3")  # a program that gives block.number
APART = 16  # blocks that may pass between two answers, or by which an endpoint lags behind another
WAITING = ("gather", "draw")


def fund_task(web3: Web3, account: LocalAccount, task: Address, amount: Amount) -> None:
    """Add to a task's pool."""
    sender = account.address.lower()
    EvmLedger(web3, task, {sender: account}).submit(Fund(sender, amount))


def send_tokens(web3: Web3, account: LocalAccount, token: Address, to: Address, amount: Amount) -> None:
    """Send tokens to another account."""
    transfer = get_contract(web3, "Token", token).functions.transfer
    send(web3, account, transfer(Web3.to_checksum_address(to), amount), None)


def check_gas(web3: Web3, account: Address) -> None:
    """Refuse an account that can pay for nothing."""
    if not web3.eth.get_balance(Web3.to_checksum_address(account)):
        raise SettingsError(f"{account} has no gas on chain {web3.eth.chain_id}: send it some, then run this again")


def check_blocks(web3: Web3) -> None:
    """Refuse a chain whose contracts see other block numbers than its log: every node would end at the first draw."""
    number, seen = int(web3.eth.block_number), int.from_bytes(web3.eth.call({"data": TELL_NUMBER}))
    if abs(number - seen) > APART:
        raise SettingsError(
            f"chain {web3.eth.chain_id}: its contracts see block {seen}, its log has block {number}, as on Arbitrum:"
            " rounds cannot be drawn there; choose another chain"
        )


def check_token(web3: Web3, token: str, owner: Address, amount: Amount) -> Address:
    """Refuse what is no token of 18 decimals, or one of which the owner has too little."""
    address = check_contract(web3, token, "--token")
    functions = get_contract(web3, "Token", address).functions
    try:
        decimals = functions.decimals().call()
        balance = functions.balanceOf(Web3.to_checksum_address(owner)).call()
    except (BadFunctionCallOutput, ContractLogicError) as error:
        raise SettingsError(f"--token {address}: the contract at this address is no ERC-20 token") from error
    if decimals != DECIMALS:
        raise SettingsError(f"--token {address}: it has {decimals} decimals; only tokens of {DECIMALS} are supported")
    if balance < amount:
        raise SettingsError(f"{owner} has {balance / TOKEN:g} of the token {address}, less than {amount / TOKEN:g}")
    return address


# --- Cancel --------------------------------------------------------------------------------------------------


def explain_cancel(web3: Web3, task: Address, account: Address) -> str:
    """Say what would follow from a cancel; refuse whom the task would refuse."""
    standing = read_standing(web3, task)
    if standing["creator"] != account:
        raise SettingsError(f"{task}: only its creator {standing['creator']} may cancel it, not {account}")
    if standing["phase"] == "finished" or standing["cancelled"]:
        raise SettingsError(f"{task}: it is over, or cancelled already")
    unbonding = format_span(Rules(*get_contract(web3, "Task", task).functions.get_rules().call()).unbonding)
    running = f"round {standing['round']} is played to its end and paid, then the task is over"
    return (
        f"the task {task} is in phase {standing['phase']} of round {standing['round']} of {standing['rounds']}: "
        + ("it is over at once" if standing["phase"] in WAITING else running)
        + f"; {format_tokens(standing['pool'])} tokens of its pool come back to you;"
        f" its {standing['members']} nodes may leave, and have their stakes {unbonding} later; nobody can undo it"
    )


def cancel_task(web3: Web3, task: Address, creator: LocalAccount) -> str:
    """Cancel a task, take back what is left of its pool, and say what was done."""
    sender = creator.address.lower()
    ledger = EvmLedger(web3, task, {sender: creator})
    ledger.submit(Cancel(sender))
    owed = get_contract(web3, "Task", task).functions.payable_of(Web3.to_checksum_address(sender)).call()
    if owed:
        ledger.submit(Claim(sender, sender))
    return f"cancelled {task}; {format_tokens(owed)} tokens came back to {sender}"
