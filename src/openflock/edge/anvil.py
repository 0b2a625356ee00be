"""Anvil: a development chain in a process of its own, on this machine alone."""

import os
import shutil
import socket
import subprocess
import time as wall
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint

from openflock.edge.processes import end_process, start_process
from openflock.protocol.types import Address

HOST = "127.0.0.1"
CHAIN = 31_337
CODE_LIMIT = 24_576  # as every public chain has it
READY = 30.0  # seconds within which it must answer
ETHER = 10**18
KEPT_STATES = 512  # blocks whose state can be asked for; more would go to the home directory


class AnvilError(RuntimeError):
    """Anvil is not here or does not start; the text is one line."""


@dataclass(frozen=True)
class Anvil:
    """A running chain."""

    url: str
    process: subprocess.Popen[bytes]

    def request(self, method: str, *params: Any) -> Any:
        """Ask the chain for what no other chain does: `anvil_...`, `evm_...`."""
        answer = HTTPProvider(self.url).make_request(RPCEndpoint(method), list(params))
        if "error" in answer:
            raise AnvilError(f"{method}: {answer['error']}")
        return answer["result"]

    def fund(self, account: Address, ether: int = 100) -> None:
        """Give an account what it pays gas with."""
        self.request("anvil_setBalance", Web3.to_checksum_address(account), hex(ether * ETHER))


def find_anvil() -> Path | None:
    """Find the program: $OPENFLOCK_ANVIL, then PATH, then what `make .anvil/installed` put below this directory."""
    places = (os.environ.get("OPENFLOCK_ANVIL"), shutil.which("anvil"), ".anvil/node_modules/.bin/anvil")
    found = next((Path(place).resolve() for place in places if place and Path(place).is_file()), None)
    # npm links a script that starts the program as a child of its own: take the program itself.
    packages = found.parent.parent.glob("anvil-*/bin/anvil") if found and found.suffix == ".mjs" else ()
    return next(iter(packages), found)


@contextmanager
def start_anvil(
    port: int = 0, block_time: float | None = 1, chain: int = CHAIN, state: Path | None = None, log: Path | None = None
) -> Iterator[Anvil]:
    """Run Anvil until the context ends, or this process does, however it does.

    Port 0 is any free one; `block_time` None makes a block a transaction, and its clock stands still between them.
    `state` is a file that the chain goes on from, if it is there, and is written to at the end.
    """
    program = find_anvil()
    if program is None:
        raise AnvilError("no anvil: run make .anvil/installed, or set OPENFLOCK_ANVIL to its path")
    port = find_free_port(port)
    command = [str(program), "--host", HOST, "--port", str(port), "--chain-id", str(chain), "--quiet"]
    command += ["--accounts", "1", "--code-size-limit", str(CODE_LIMIT), "--prune-history", str(KEPT_STATES)]
    command += [] if block_time is None else ["--block-time", str(block_time)]
    command += [] if state is None else ["--state", str(state)]
    anvil = Anvil(f"http://{HOST}:{port}", start_process(command, log))
    try:
        _wait_until_ready(anvil, chain)
        yield anvil
    finally:
        end_process(anvil.process)


def _wait_until_ready(anvil: Anvil, chain: int) -> None:
    web3, deadline = Web3(HTTPProvider(anvil.url)), wall.monotonic() + READY
    while not web3.is_connected():
        if anvil.process.poll() is not None:
            raise AnvilError(f"anvil ended at once (exit code {anvil.process.returncode}): is {anvil.url} taken?")
        if wall.monotonic() > deadline:
            raise AnvilError(f"anvil does not answer at {anvil.url} within {READY:.0f} s")
        wall.sleep(0.05)
    if web3.eth.chain_id != chain:
        raise AnvilError(f"another chain answers at {anvil.url}: choose another port")


def find_free_port(wanted: int = 0) -> int:
    """Find a port that nobody listens on now, or see that the one wanted is free."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            free.bind((HOST, wanted))
        except OSError as error:
            raise AnvilError(f"port {wanted} is taken on this machine: choose another") from error
        return int(free.getsockname()[1])
