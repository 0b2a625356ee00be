from hashlib import sha256
from itertools import pairwise

import pytest
from eth_account import Account
from eth_keys import KeyAPI
from eth_keys.backends import CoinCurveECCBackend as CoinCurve
from eth_keys.backends import NativeECCBackend as InPython
from eth_keys.datatypes import PrivateKey

from openflock.edge.deploy import deploy_token
from openflock.edge.embedded_chain import GENESIS_TIME, EmbeddedChain
from openflock.edge.evm_ledger import get_contract, send
from openflock.protocol.types import Revert

ACCOUNT = Account.from_key(sha256(b"embedded").digest())
ADDRESS = ACCOUNT.address.lower()
OTHER = "0x" + "ab" * 20


def run_chain(seed):
    """A few transactions, waits and mined blocks."""
    chain = EmbeddedChain([ADDRESS], seed)
    deploy_token(chain.web3, ACCOUNT, {ADDRESS: 5}, gas=5_000_000)
    chain.wait_until(GENESIS_TIME + 500)
    deploy_token(chain.web3, ACCOUNT, {ADDRESS: 6}, gas=5_000_000)
    return [(b["hash"].hex(), b["timestamp"]) for b in map(chain.web3.eth.get_block, range(chain.get_block() + 1))]


def test_the_same_seed_gives_the_same_blocks_to_the_hash():
    assert run_chain(b"one") == run_chain(b"one")


def test_another_seed_gives_other_hashes_at_the_same_times():
    one, other = run_chain(b"one"), run_chain(b"other")
    assert [time for _, time in one] == [time for _, time in other]
    assert all(left != right for (left, _), (right, _) in zip(one[1:], other[1:], strict=True))


def test_every_block_comes_a_second_after_the_last_unless_told_to_wait():
    times = [time for _, time in run_chain(b"x")]
    assert times[0] == GENESIS_TIME
    assert sorted(set(times)) == times
    assert sum(later - earlier != 1 for earlier, later in pairwise(times)) == 1


def test_a_refused_transaction_gives_the_reason_with_and_without_given_gas():
    chain = EmbeddedChain([ADDRESS], b"")
    token = get_contract(chain.web3, "Token", deploy_token(chain.web3, ACCOUNT, {ADDRESS: 5}, gas=5_000_000))
    transfer = token.functions.transfer(chain.web3.to_checksum_address(OTHER), 6)
    reasons = []
    for gas in (None, 1_000_000):
        with pytest.raises(Revert) as caught:
            send(chain.web3, ACCOUNT, transfer, gas)
        reasons.append(str(caught.value))
    assert reasons[0] == reasons[1] != ""
    assert "execution reverted" not in reasons[0]
    assert token.functions.balanceOf(ACCOUNT.address).call() == 5


def test_a_transaction_without_enough_gas_says_so():
    chain = EmbeddedChain([ADDRESS], b"")
    token = get_contract(chain.web3, "Token", deploy_token(chain.web3, ACCOUNT, {ADDRESS: 5}, gas=5_000_000))
    with pytest.raises(Revert, match="perhaps for want of gas"):
        send(chain.web3, ACCOUNT, token.functions.transfer(chain.web3.to_checksum_address(OTHER), 1), 22_000)


@pytest.mark.parametrize("index", range(5))
def test_a_signature_does_not_depend_on_the_library_that_makes_it(index):
    digest, key = sha256(b"%d" % index).digest(), PrivateKey(sha256(b"signer").digest())
    fast, slow = (KeyAPI(backend).ecdsa_sign(digest, key).to_bytes() for backend in (CoinCurve, InPython))
    assert fast == slow
