"""Reach a chain over one or more JSON-RPC endpoints (HTTP), whichever answers.

An endpoint is trusted with no more than it must be: its answers are bounded in size and time, it cannot send this
process elsewhere, and its URL, which may hold a key, is shown as scheme and host alone.
"""

import json
import re
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from web3 import Web3
from web3.middleware import ExtraDataToPOAMiddleware
from web3.providers import JSONBaseProvider
from web3.types import RPCEndpoint, RPCResponse

from openflock.edge.deadline import EndingAdapter, end_within
from openflock.edge.shapes import Misshapen, check_result
from openflock.protocol.ports import Unreachable

TIMEOUT = 10.0  # seconds that one request may take
ROUNDS = 4  # how often all endpoints are asked before the chain counts as unreachable
PAUSE = 0.1  # seconds before the second round; doubled for each after it
PATIENCE = 30.0  # seconds after which no further round starts
MAX_ANSWER = 2**26  # bytes of one answer
MAX_DEPTH, FEW = 16, 500  # of brackets in an answer: how deep, and how many may be of any depth
NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
SHOWN = 160  # characters of what an endpoint said that are shown

# Codes and words by which endpoints say that they, and not the request, are at fault.
TRANSIENT_CODES = {-32603, -32005, -32002, 429}
TRANSIENT_WORDS = (
    "header not found",
    "internal error",
    "missing trie node",
    "rate limit",
    "temporarily",
    "timed out",
    "timeout",
    "too many requests",
    "try again",
)


class WrongChain(ValueError):
    """An endpoint of another chain than it should be."""


class BadEndpoint(ValueError):
    """A URL that names no endpoint."""


class _NoAnswer(Exception):
    """One endpoint gave nothing that can be used; the text says why, without its URL."""


class Endpoints(JSONBaseProvider):
    """The provider that asks one endpoint after the other, the one that answered last first.

    What may be repeated is repeated, a few times: all but what an endpoint would sign itself, or a development chain's
    own commands. A raw transaction may be, since its hash and nonce make it one however often it arrives.
    """

    global_ccip_read_enabled = False  # else a contract could name URLs that this process fetches

    def __init__(self, urls: Sequence[str], chain: int | None = None, timeout: float = TIMEOUT) -> None:
        """Name the endpoints; without `chain` the first to answer says which chain it is."""
        super().__init__()
        self.chain = chain
        self._urls, self._timeout = [check_url(url) for url in urls], timeout
        if not self._urls:
            raise BadEndpoint("no RPC endpoint is named: give at least one URL")
        self._verified: set[str] = set()
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, EndingAdapter())

    def __str__(self) -> str:
        return ", ".join(map(show_url, self._urls))

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """Answer a request; raise Unreachable if no endpoint does."""
        if method == "eth_chainId" and self.chain is not None:  # asked before each call, and verified once
            return {"jsonrpc": "2.0", "id": 0, "result": hex(self.chain)}
        body = self.encode_rpc_request(method, params)
        started, faults = time.monotonic(), dict[str, str]()
        for number in range(ROUNDS if is_repeatable(method) else 1):
            if number:
                time.sleep(PAUSE * 2 ** (number - 1))
            for url in list(self._urls) if is_repeatable(method) else self._urls[:1]:
                try:
                    return self._ask_verified(url, method, body)
                except _NoAnswer as fault:
                    faults[url] = str(fault)
            if time.monotonic() - started > PATIENCE:
                break
        raise Unreachable("no RPC endpoint answers: " + "; ".join(f"{show_url(u)} {why}" for u, why in faults.items()))

    def check_chains(self) -> None:
        """Ask every endpoint for its chain; raise WrongChain if one differs, Unreachable if none answers."""
        faults = dict[str, str]()
        for url in list(self._urls):
            for _ in range(ROUNDS):
                try:
                    self._verify(url)
                    faults.pop(url, None)
                    break
                except _NoAnswer as fault:
                    faults[url] = str(fault)
                    time.sleep(PAUSE)
        if not self._verified:
            described = "; ".join(f"{show_url(url)} {why}" for url, why in faults.items())
            raise Unreachable(f"no RPC endpoint answers: {described}")

    def _ask_verified(self, url: str, method: str, body: bytes) -> RPCResponse:
        try:
            self._verify(url)
        except WrongChain as error:
            raise _NoAnswer("is of another chain") from error
        answer = parse_answer(self._post(url, body), method)
        if "error" in answer and is_transient(method, answer["error"]):
            raise _NoAnswer(f"says {show(answer['error']['message'])}")
        self._urls.remove(url)
        self._urls.insert(0, url)
        return answer

    def _verify(self, url: str) -> None:
        if url in self._verified:
            return
        answer = parse_answer(self._post(url, self.encode_rpc_request(RPCEndpoint("eth_chainId"), [])), "eth_chainId")
        if "error" in answer:
            raise _NoAnswer("does not say which chain it is")
        found = int(answer["result"], 16)
        if self.chain is None:
            self.chain = found
        if found != self.chain:
            raise WrongChain(f"{show_url(url)} is of chain {found}, not {self.chain}: name endpoints of one chain")
        self._verified.add(url)

    def _post(self, url: str, body: bytes) -> bytes:
        parts, size = [], 0
        headers = {"Content-Type": "application/json"}
        try:
            with (
                end_within(self._timeout),
                self._session.post(
                    url, data=body, headers=headers, timeout=self._timeout, stream=True, allow_redirects=False
                ) as response,
            ):
                for part in response.iter_content(2**16):
                    parts.append(part)
                    size += len(part)
                    if size > MAX_ANSWER:
                        raise _NoAnswer(f"answers with more than {MAX_ANSWER} bytes")
                status = response.status_code
        except (requests.Timeout, TimeoutError):
            raise _NoAnswer(f"does not answer within {self._timeout:g} s") from None
        except requests.ConnectionError:
            self._verified.discard(url)  # who comes back may be another
            raise _NoAnswer("cannot be connected to") from None
        except requests.RequestException as error:  # its text may hold the URL
            raise _NoAnswer(f"fails: {type(error).__name__}") from None
        # Some endpoints answer a request that they refuse with a 4xx and say why in the body.
        if not (status == 200 or (400 <= status < 500 and status not in (401, 403, 407, 408, 429))):
            raise _NoAnswer(f"answers with HTTP status {status}")
        return b"".join(parts)


def connect(urls: Sequence[str], chain: int | None = None) -> Web3:
    """Connect to a chain; raise WrongChain if an endpoint that answers is of another, Unreachable if none does."""
    endpoints = Endpoints(urls, chain)
    endpoints.check_chains()
    web3 = Web3(endpoints)
    # A consortium's chain (Clique, IBFT) keeps seals in its blocks' extra data, more than web3.py else lets pass.
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3


def check_url(url: str) -> str:
    """Return a URL that can be asked; raise BadEndpoint, which shows none of it, for any other."""
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise BadEndpoint("an RPC endpoint is not named by a URL like http://127.0.0.1:8545 or https://host/path")
    return url.strip()


def show_url(url: str) -> str:
    """Write a URL without what may be secret.

    >>> show_url("https://user:word@example.org:8545/v3/key?token=1")
    'https://example.org:8545'
    """
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"


def is_repeatable(method: str) -> bool:
    """Answer whether a request may be made twice for one."""
    return method.startswith(("eth_", "net_", "web3_")) and method not in ("eth_sendTransaction", "eth_sign")


def is_transient(method: str, error: Any) -> bool:
    """Answer whether an endpoint's error is its own, and may be gone the next time or elsewhere.

    A search of the log that was too wide is refused in as many words as there are endpoints; its caller narrows it.
    """
    message = str(error["message"]).lower()
    if method == "eth_getLogs" or "revert" in message:
        return False
    return error.get("code") in TRANSIENT_CODES or any(word in message for word in TRANSIENT_WORDS)


def parse_answer(data: bytes, method: str) -> RPCResponse:
    """Parse a JSON-RPC answer of the form that web3.py takes for granted."""
    try:
        answer = None if is_deep(data) else json.loads(data)
    except (ValueError, RecursionError):
        raise _NoAnswer("answers with something that is not JSON") from None
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or ("result" in answer) == (error is not None):
        raise _NoAnswer("answers with something that is not JSON-RPC")
    if error is None:
        try:
            return {"jsonrpc": "2.0", "id": 0, "result": check_result(method, answer["result"])}
        except Misshapen:
            raise _NoAnswer(f"answers {method} with something else") from None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        raise _NoAnswer("answers with an error that does not say what")
    code = error.get("code")
    error["code"] = code if isinstance(code, int) else -32000
    return {"jsonrpc": "2.0", "id": 0, "error": error}  # type: ignore[typeddict-item]


def is_deep(data: bytes) -> bool:
    """Answer whether JSON is nested deeper than any answer is: the parser recurses, and could take the process down.

    Libraries of the chain raise Python's limit past what its stack holds. Answers may be long, so only depth counts.

    >>> is_deep(b"[" * 1000), is_deep(b"[" + b'{"a[": []}, ' * 1000 + b"1]")
    (True, False)
    """
    if data.count(b"[") + data.count(b"{") < FEW:
        return False
    brackets = re.sub(rb'"(?:[^"\\]|\\.)*"', b"", data).translate(None, NO_BRACKETS)
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def show(text: str) -> str:
    """Write what an endpoint said on one line: nothing unprintable, and not too much."""
    return repr(" ".join(text.split())[:SHOWN])
