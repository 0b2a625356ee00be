"""The Meter says what a chain would charge."""

from dataclasses import astuple
from hashlib import sha256

from eth_account import Account

from openflock.edge.deploy import deploy_contract, deploy_token
from openflock.edge.embedded_chain import EmbeddedChain
from openflock.edge.evm_ledger import get_contract, send
from openflock.protocol.calls import Fund, Join, Leave, TopUp

from ..protocol.helpers import STAKE
from .meter import PLENTY, Meter
from .pair import get_function

GAS = 10_000_000
ACCOUNTS = [Account.from_key(sha256(b"meter %d" % i).digest()) for i in range(3)]
CREATOR, NODE, OTHER = (account.address.lower() for account in ACCOUNTS)
CALLS = [
    Fund(CREATOR, 10**12),
    Join(NODE, 0, STAKE),
    Join(OTHER, 1, 2 * STAKE),
    TopUp(NODE, 7),
    Leave(NODE),  # clears storage, so that a refund counts
    Fund(CREATOR, 1),
]


def test_the_meter_weighs_calls_as_a_chain_charges_them():
    meter = Meter()
    charged = charge(meter)
    for call, gas in zip(CALLS, charged, strict=True):
        meter.submit(call)
        assert meter.take() == {get_function(call): [gas]}


def charge(meter):
    """Send the calls in real transactions; give what their receipts say."""
    web3 = EmbeddedChain([CREATOR, NODE, OTHER], b"").web3
    token = deploy_token(web3, ACCOUNTS[0], dict.fromkeys([CREATOR, NODE, OTHER], PLENTY), GAS)
    rules = astuple(meter.get_genesis().rules)
    deployed = deploy_contract(
        web3, ACCOUNTS[0], "Task", *map(web3.to_checksum_address, (token, CREATOR)), rules, gas=GAS
    )
    task, approve = get_contract(web3, "Task", deployed), get_contract(web3, "Token", token).functions.approve
    for account in ACCOUNTS:
        send(web3, account, approve(task.address, 2**256 - 1), GAS)
    senders = {account.address.lower(): account for account in ACCOUNTS}
    for call in CALLS:
        sender, *values = astuple(call)
        yield send(web3, senders[sender], task.functions[get_function(call)](*values), GAS)["gasUsed"]
