import pytest
from web3 import HTTPProvider, Web3

from openflock.edge import anvil as module
from openflock.edge.anvil import CODE_LIMIT, AnvilError, find_anvil, find_free_port, start_anvil
from openflock.edge.processes import get_start

needs_anvil = [
    pytest.mark.network,
    pytest.mark.skipif(find_anvil() is None, reason="no anvil: make .anvil/installed"),
]
ACCOUNT = "0x" + "aB" * 20


def test_anvil_is_looked_for_where_the_environment_says_first(monkeypatch, tmp_path):
    program = tmp_path / "mine"
    program.touch()
    monkeypatch.setenv("OPENFLOCK_ANVIL", str(program))
    assert find_anvil() == program


def test_where_there_is_no_anvil_the_mend_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENFLOCK_ANVIL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert find_anvil() is None
    with pytest.raises(AnvilError, match="no anvil: run make"), start_anvil():
        pass


def test_the_script_that_npm_links_leads_to_the_program(monkeypatch, tmp_path):
    script = tmp_path / "@foundry-rs" / "anvil" / "bin.mjs"
    program = tmp_path / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    for file in (script, program):
        file.parent.mkdir(parents=True)
        file.touch()
    monkeypatch.setenv("OPENFLOCK_ANVIL", str(script))
    assert find_anvil() == program


def test_a_port_that_is_taken_is_named():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AnvilError, match=f"port {port} is taken"):
            find_free_port(port)


class TestRunning:
    pytestmark = needs_anvil

    def test_it_answers_has_the_chain_asked_for_and_ends_with_its_context(self):
        with start_anvil(block_time=None, chain=4242) as anvil:
            web3 = Web3(HTTPProvider(anvil.url))
            assert web3.eth.chain_id == 4242
            anvil.fund(ACCOUNT, 7)
            assert web3.eth.get_balance(Web3.to_checksum_address(ACCOUNT)) == 7 * 10**18
        assert anvil.process.poll() is not None
        assert get_start(anvil.process.pid) is None

    def test_it_ends_where_an_error_leaves_its_context(self):
        with pytest.raises(KeyError), start_anvil() as anvil:
            raise KeyError
        assert anvil.process.poll() is not None

    def test_it_takes_no_contract_that_a_public_chain_would_refuse(self):
        with start_anvil(block_time=None) as anvil:
            web3 = Web3(HTTPProvider(anvil.url))
            anvil.fund(ACCOUNT)
            anvil.request("anvil_impersonateAccount", ACCOUNT)
            for size, status in ((CODE_LIMIT, 1), (CODE_LIMIT + 1, 0)):
                code = f"0x62{size:06x}5ff3"  # returns so many zeros as a contract's code
                send = {"from": Web3.to_checksum_address(ACCOUNT), "data": code, "gas": 10_000_000}
                receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_transaction(send))
                assert receipt["status"] == status

    def test_what_it_does_not_know_is_named(self):
        with start_anvil() as anvil, pytest.raises(AnvilError, match="anvil_nonsense"):
            anvil.request("anvil_nonsense")

    def test_a_chain_goes_on_from_the_state_it_was_ended_with(self, tmp_path):
        for blocks in (3, 6):
            with start_anvil(block_time=None, state=tmp_path / "state.json") as anvil:
                anvil.request("anvil_mine", 3)
                assert Web3(HTTPProvider(anvil.url)).eth.block_number == blocks

    def test_a_program_that_is_no_chain_is_named_and_ended(self, monkeypatch, tmp_path):
        monkeypatch.setenv("OPENFLOCK_ANVIL", "/bin/true")
        with pytest.raises(AnvilError, match="ended at once"), start_anvil():
            pass

    def test_a_program_that_never_answers_is_given_up(self, monkeypatch, tmp_path):
        program = tmp_path / "anvil"
        program.write_text("#!/bin/sh\nexec sleep 600\n")
        program.chmod(0o755)
        monkeypatch.setenv("OPENFLOCK_ANVIL", str(program))
        monkeypatch.setattr(module, "READY", 0.2)
        with pytest.raises(AnvilError, match="does not answer"), start_anvil():
            pass
