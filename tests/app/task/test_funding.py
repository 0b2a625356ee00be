import pytest

from openflock.app.settings import SettingsError
from openflock.app.task.funding import check_blocks

from ...behaviour.ledgers import open_evm
from ...protocol.helpers import make_rules


def test_a_chain_whose_contracts_see_its_own_blocks_is_taken():
    ledger, clock = open_evm(make_rules())
    clock.wait_until(clock.get_time() + 60)
    check_blocks(ledger._web3)


def test_a_chain_whose_contracts_see_another_s_blocks_is_refused():
    ledger, _ = open_evm(make_rules())
    answer, ledger._web3.provider._request_func_cache = ledger._web3.provider.make_request, (None, None)

    def lie(method, params):
        return (
            {"jsonrpc": "2.0", "id": 0, "result": "0x12a05f200"}
            if method == "eth_blockNumber"
            else answer(method, params)
        )

    ledger._web3.provider.make_request = lie
    with pytest.raises(SettingsError, match=r"its log has block 5000000000.*choose another chain"):
        check_blocks(ledger._web3)
