import json
from contextlib import ExitStack

import pytest
from web3 import Web3

from openflock.edge import rpc
from openflock.edge.rpc import BadEndpoint, Endpoints, WrongChain, connect, is_repeatable, is_transient, show_url
from openflock.protocol.ports import Unreachable

from ..proxies import FAULTS, Endpoint, encode
from .dripping import BODY, HEADERS, Dripping

CHAIN = 31337
SECRET = "v3/0123456789abcdef"


@pytest.fixture
def open_endpoint():
    """Open endpoints that end with the test; each answers by method, with a result, a reply or a function."""
    with ExitStack() as stack:

        def open_one(chain=CHAIN, **answers):
            def answer(request):
                given = answers.get(request["method"], hex(chain) if request["method"] == "eth_chainId" else "0x7")
                if callable(given):
                    return given(request)
                return (200, encode(request, result=given)) if isinstance(given, str) else given

            return stack.enter_context(Endpoint(answer))

        yield open_one


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(rpc, "PAUSE", 0.01)


def serve_twice(fault, result="0x7"):
    """Fail twice, then answer."""
    left = [fault, fault]

    def answer(request):
        return left.pop()(request) if left else (200, encode(request, result=result))

    return answer


def test_the_endpoint_that_answers_is_asked_first_from_then_on(open_endpoint):
    dead, alive = open_endpoint(eth_blockNumber=(503, b"")), open_endpoint()
    web3 = connect([dead.url, alive.url])
    assert [web3.eth.block_number for _ in range(5)] == [7] * 5
    assert dead.methods["eth_blockNumber"] == 1
    assert alive.methods["eth_blockNumber"] == 5


def test_an_endpoint_that_nobody_listens_at_is_passed_over(open_endpoint):
    gone, alive = open_endpoint(), open_endpoint()
    gone.close()
    assert connect([gone.url, alive.url]).eth.block_number == 7


@pytest.mark.parametrize("fault", FAULTS)
def test_what_fails_twice_is_answered_the_third_time(open_endpoint, fault):
    endpoint = open_endpoint(eth_blockNumber=serve_twice(FAULTS[fault]))
    assert connect([endpoint.url]).eth.block_number == 7


@pytest.mark.parametrize("fault", FAULTS)
def test_what_always_fails_is_unreachable_and_shows_no_secret(open_endpoint, fault):
    endpoint = open_endpoint(eth_blockNumber=FAULTS[fault])
    web3 = connect([f"{endpoint.url}/{SECRET}?token={SECRET}"])
    with pytest.raises(Unreachable) as caught:
        _ = web3.eth.block_number
    assert endpoint.url in str(caught.value)
    assert SECRET not in str(caught.value) + repr(caught.value) + str(web3.provider)
    assert "\n" not in str(caught.value)


def test_a_fault_shows_what_the_endpoint_said_on_one_short_line(open_endpoint):
    message = "rate limit\n\x1b[31m" + "x" * 10_000
    endpoint = open_endpoint(
        eth_blockNumber=lambda request: (200, encode(request, error={"code": 1, "message": message}))
    )
    with pytest.raises(Unreachable) as caught:
        _ = connect([endpoint.url]).eth.block_number
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"7", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"result": 1, "error": {"message": "x"}}',
        b'{"error": "x"}', b'{"error": {"code": 1}}', b'{"error": {"message": 3}}', b"9" * 10_000,
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_unreachable(open_endpoint, body):
    with pytest.raises(Unreachable):
        _ = connect([open_endpoint(eth_blockNumber=(200, body)).url]).eth.block_number


def test_an_endless_answer_is_read_no_further_than_its_bound(open_endpoint, monkeypatch):
    monkeypatch.setattr(rpc, "MAX_ANSWER", 2**20)
    endpoint = open_endpoint(eth_blockNumber=lambda request: (200, encode(request, result="0x" + "0" * 2**24)))
    with pytest.raises(Unreachable, match="more than 1048576 bytes"):
        _ = connect([endpoint.url]).eth.block_number


@pytest.mark.parametrize("before", [HEADERS, BODY])
def test_an_endpoint_that_drips_is_left_for_the_next(open_endpoint, before):
    with Dripping(before) as dripping:
        endpoints = Endpoints([dripping.url, open_endpoint().url], CHAIN, timeout=2)
        assert Web3(endpoints).eth.block_number == 7
    assert not dripping.was_patient


def test_no_endpoint_sends_us_elsewhere(open_endpoint):
    elsewhere = open_endpoint()
    endpoint = open_endpoint(eth_blockNumber=(307, elsewhere.url.encode()))
    with pytest.raises(Unreachable, match="HTTP status 307"):
        _ = connect([endpoint.url]).eth.block_number
    assert not elsewhere.methods


def test_a_refusal_is_an_answer_and_is_not_asked_for_twice(open_endpoint):
    refusal = {"code": 3, "message": "execution reverted: rounds: too early", "data": "0x"}
    endpoint = open_endpoint(eth_call=lambda request: (200, encode(request, error=refusal)))
    answer = connect([endpoint.url]).provider.make_request("eth_call", [{}, "latest"])
    assert answer["error"]["message"] == refusal["message"]
    assert endpoint.methods["eth_call"] == 1


def test_a_refusal_with_a_status_of_its_own_is_an_answer_too(open_endpoint):
    endpoint = open_endpoint(
        eth_getLogs=lambda request: (400, encode(request, error={"code": -32602, "message": "range"}))
    )
    assert "error" in connect([endpoint.url]).provider.make_request("eth_getLogs", [{}])
    assert endpoint.methods["eth_getLogs"] == 1


# --- Chains --------------------------------------------------------------------------------------------------


def test_endpoints_of_two_chains_are_refused(open_endpoint):
    urls = [f"{open_endpoint().url}/{SECRET}", f"{open_endpoint(chain=5).url}/{SECRET}"]
    with pytest.raises(WrongChain, match="chain 5, not 31337") as caught:
        connect(urls)
    assert SECRET not in str(caught.value)


def test_an_endpoint_of_another_chain_than_wanted_is_refused(open_endpoint):
    with pytest.raises(WrongChain, match="chain 31337, not 1"):
        connect([open_endpoint().url], chain=1)


def test_one_that_comes_back_as_another_chain_is_not_asked(open_endpoint):
    chains = ["0x7a69"] + ["0x5"] * 100
    turned = open_endpoint(
        eth_chainId=lambda request: (200, encode(request, result=chains.pop(0))),
        eth_blockNumber=serve_twice(FAULTS["cut"], "0xbad"),
    )
    honest = open_endpoint()
    web3 = connect([turned.url, honest.url])
    assert [web3.eth.block_number for _ in range(3)] == [7] * 3
    honest.close()
    with pytest.raises(Unreachable, match="is of another chain"):
        _ = web3.eth.block_number


def test_one_that_was_away_at_first_is_checked_before_it_is_believed(open_endpoint):
    late = open_endpoint(eth_chainId=serve_twice(lambda request: None, "0x5"), eth_blockNumber="0xbad")
    monday = open_endpoint(eth_blockNumber=(503, b""))
    with pytest.raises(WrongChain):
        connect([monday.url, late.url])
    endpoints = Endpoints([late.url, monday.url], chain=CHAIN)
    with pytest.raises(Unreachable):
        _ = Web3(endpoints).eth.block_number


def test_the_chain_is_asked_for_once(open_endpoint):
    endpoint = open_endpoint()
    web3 = connect([endpoint.url])
    assert {web3.eth.chain_id for _ in range(5)} == {CHAIN}
    assert endpoint.methods["eth_chainId"] == 1


def test_when_none_answers_connecting_says_so(open_endpoint):
    gone = open_endpoint()
    gone.close()
    with pytest.raises(Unreachable, match=r"no RPC endpoint answers: http://127.0.0.1:\d+ cannot be connected to"):
        connect([gone.url])


# --- Words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "localhost:8545", "ws://x", "file:///etc/passwd", "http:///x", "http://x:99999999"]
)
def test_a_url_of_no_endpoint_is_refused_unshown(url):
    with pytest.raises(BadEndpoint) as caught:
        connect(["http://127.0.0.1:1", url])
    assert not url or url not in str(caught.value)


def test_no_url_at_all_is_refused():
    with pytest.raises(BadEndpoint, match="at least one"):
        connect([])


@pytest.mark.parametrize(
    ("url", "shown"),
    [("https://user:pass@host:8545/key", "https://host:8545"), ("http://host/v2/key?x=1#y", "http://host")],
)
def test_a_url_is_shown_as_scheme_and_host(url, shown):
    assert show_url(url) == shown


def test_only_what_is_safe_to_repeat_is_repeated():
    safe = ["eth_sendRawTransaction", "eth_getLogs", "net_version", "web3_clientVersion"]
    assert all(map(is_repeatable, safe))
    assert not any(map(is_repeatable, ["eth_sendTransaction", "eth_sign", "evm_mine", "anvil_reorg", "personal_sign"]))


@pytest.mark.parametrize(
    ("method", "error", "transient"),
    [
        ("eth_call", {"code": -32603, "message": "internal error"}, True),
        ("eth_call", {"code": -32603, "message": "execution reverted: no"}, False),
        ("eth_call", {"code": -32000, "message": "header not found"}, True),
        ("eth_sendRawTransaction", {"code": -32000, "message": "nonce too low"}, False),
        ("eth_sendRawTransaction", {"code": -32003, "message": "transaction already imported"}, False),
        ("eth_getLogs", {"code": -32005, "message": "query timeout exceeded"}, False),
        ("eth_blockNumber", {"code": -32005, "message": "daily request count exceeded, request rate limited"}, True),
    ],
)
def test_an_endpoint_s_own_fault_is_told_from_an_answer(method, error, transient):
    assert is_transient(method, error) == transient


def test_what_is_asked_is_json_rpc(open_endpoint):
    seen = []
    endpoint = open_endpoint(
        eth_getBalance=lambda request: (seen.append(request), (200, encode(request, result="0x1")))[1]
    )
    connect([endpoint.url]).eth.get_balance("0x" + "00" * 20)
    assert json.loads(json.dumps(seen[0])) == {
        "jsonrpc": "2.0", "method": "eth_getBalance", "params": ["0x" + "00" * 20, "latest"], "id": seen[0]["id"]
    }  # fmt: skip
