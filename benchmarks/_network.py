"""A network to do things to: Anvil, an S3 server, and nodes in processes of their own that reach both by proxies."""

import json
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time as wall
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _proxy import Proxy
from eth_account import Account
from eth_account.signers.local import LocalAccount
from rich.console import Console
from web3 import HTTPProvider, Web3

from openflock.app.settings import TOKEN, Config
from openflock.app.task.creation import create
from openflock.app.task.view import read_standing
from openflock.edge.anvil import Anvil, start_anvil
from openflock.edge.evm_ledger import EvmLedger, get_contract
from openflock.edge.processes import end_process, start_process
from openflock.edge.stores import open_store
from openflock.edge.transactions import send
from openflock.edge.wallet import create_wallet
from openflock.learn.skills import generate_rows
from openflock.protocol.calls import Cancel
from openflock.protocol.types import Address, Phase

PASSWORD = "a password that is in no log"  # noqa: S105  # of play money
BUCKET = "flock"
OPENFLOCK = Path(sys.executable).with_name("openflock")
SKEW = Path(__file__).with_name("_skew")
WORK = 2**12  # scrypt's cost of these wallets: they hold play money
ROWS = 64


@dataclass
class Seat:
    """One node: where it lives, and its process, if it runs."""

    name: str
    address: Address
    directory: Path
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    skew: int = 0

    def is_running(self) -> bool:
        """Answer whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self, environment: Mapping[str, str], skew: int = 0) -> None:
        """Start it, or start it again; its wall clock may be off by some seconds."""
        path = os.pathsep.join((str(SKEW), environment.get("PYTHONPATH", "")))
        shifted = {"PYTHONPATH": path, "OPENFLOCK_SKEW": str(skew)} if skew else {}
        self.skew, self.starts = skew, self.starts + 1
        self.process = start_process(self.command, self.directory / "output.txt", {**environment, **shifted})

    def kill(self) -> None:
        """End it as a power failure would."""
        if self.process is not None and self.is_running():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def read_status(self) -> dict[str, Any]:
        """Read what it last wrote of itself; nothing before it was ready for the first time."""
        try:
            status: dict[str, Any] = json.loads((self.directory / "status.json").read_text())
        except FileNotFoundError:
            return {}
        return status

    def count_lines(self, event: str) -> int:
        """Count the lines of its log that tell of an event."""
        files = self.directory.glob("node.log*")
        return sum(json.loads(line)["event"] == event for file in files for line in file.read_text().splitlines())

    def read_journal(self, query: str) -> list[tuple[Any, ...]]:
        """Ask its journal, once its process has ended."""
        database = sqlite3.connect(self.directory / "journal.db")
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()


@dataclass
class Network:
    """All of it; `web3` reaches the chain past the proxy, and past all that a node puts between."""

    anvil: Anvil
    rpc: Proxy
    store: Proxy
    web3: Web3
    creator: LocalAccount
    task: Address
    environment: Mapping[str, str]
    directory: Path
    seats: list[Seat] = field(default_factory=list)

    def get_place(self) -> tuple[int, Phase]:
        """Read the running round and its phase from the contract."""
        standing = read_standing(self.web3, self.task)
        return int(standing["round"]), Phase[str(standing["phase"]).upper()]

    def cancel(self) -> None:
        """End the task with the running round."""
        sender = self.creator.address.lower()
        EvmLedger(self.web3, self.task, {sender: self.creator}).submit(Cancel(sender))

    def audit(self) -> dict[str, Any]:
        """Audit the task from a process that knows only chain and store."""
        command = [str(OPENFLOCK), "audit", "--task", self.task, "--rpc", self.anvil.url, "--store", f"s3://{BUCKET}"]
        done = subprocess.run(
            [*command, "--json"], env=self.environment, capture_output=True, text=True, timeout=600, check=False
        )
        try:
            found: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            found = {"clean": False, "difference": (done.stderr or done.stdout)[-500:]}
        return {**found, "exit": done.returncode}


@contextmanager
def start_network(
    config: Config, directory: Path, nodes: int, confirmations: int, seed: int, block_time: float
) -> Iterator[Network]:
    """Start everything, and end everything, whatever happens in between."""
    with ExitStack() as stack:
        anvil = stack.enter_context(start_anvil(block_time=block_time, log=directory / "anvil.txt"))
        rpc = stack.enter_context(Proxy(anvil.url, seed))
        store = stack.enter_context(Proxy(stack.enter_context(serve_bucket()), seed + 1))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **name_store(store.url)}
        os.environ.update(name_store(store.url))
        creator, web3 = Account.create(), Web3(HTTPProvider(anvil.url))
        anvil.fund(creator.address.lower())
        blobs = open_store(f"s3://{BUCKET}", directory / "creator")
        created = create(web3, creator, config, blobs, None, None, config.pool * TOKEN, Console(quiet=True))
        blobs.close()
        network = Network(anvil, rpc, store, web3, creator, created.task, environment, directory)
        stack.callback(end_seats, network)
        for number in range(nodes):
            domain = config.domains[number % len(config.domains)]
            seat = make_seat(network, f"{domain}-{number}", domain, number, config, confirmations)
            anvil.fund(seat.address)
            transfer = get_contract(web3, "Token", created.token).functions.transfer
            send(web3, creator, transfer(Web3.to_checksum_address(seat.address), 2 * config.stake * TOKEN), None)
            network.seats.append(seat)
        for seat in network.seats:
            seat.start(environment)
        yield network


def make_seat(network: Network, name: str, domain: str, number: int, config: Config, confirmations: int) -> Seat:
    """Write a node's wallet, rows and settings, and the command that runs it."""
    place = network.directory / name
    place.mkdir(parents=True)
    (place / "password").write_text(PASSWORD)
    rows = generate_rows(domain, ROWS * (number + 1), config.seed)[ROWS * number :]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train = config.train
    (place / "node.toml").write_text(
        f"held_out = 16\ninterval = 1.0\n[train]\nsteps = {train.steps}\nbatch_size = {train.batch_size}\n"
    )
    address = create_wallet(place / "wallet.json", PASSWORD, WORK)
    options = {
        "task": network.task, "rpc": network.rpc.url, "store": f"s3://{BUCKET}", "data": place / "rows.jsonl",
        "wallet": place / "wallet.json", "password-file": place / "password", "dir": place / "node",
        "domain": domain, "stake": config.stake, "config": place / "node.toml", "confirmations": confirmations,
    }  # fmt: skip
    words = [word for option, value in options.items() for word in (f"--{option}", str(value))]
    (place / "node").mkdir()
    return Seat(name, address, place / "node", [str(OPENFLOCK), "node", "run", *words])


@contextmanager
def serve_bucket() -> Iterator[str]:
    """Serve an empty S3 bucket on loopback."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else it tells of every request
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"aws_access_key_id": "chaos", "aws_secret_access_key": "chaos", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=url, **keys).create_bucket(Bucket=BUCKET)
        yield url
    finally:
        server.stop()


def name_store(url: str) -> dict[str, str]:
    """Tell AWS libraries where the bucket is, as their users do."""
    return {
        "AWS_ACCESS_KEY_ID": "chaos",
        "AWS_SECRET_ACCESS_KEY": "chaos",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }


def end_seats(network: Network) -> None:
    """End all nodes."""
    for seat in network.seats:
        if seat.process is not None:
            end_process(seat.process, grace=5)


def wait_for(condition: Any, seconds: float, what: str) -> float:
    """Wait until a condition holds, and say how long that took; raise TimeoutError where it does not."""
    began = wall.monotonic()
    while not condition():
        if wall.monotonic() - began > seconds:
            raise TimeoutError(f"waited {seconds:.0f} s in vain for {what}")
        wall.sleep(0.2)
    return wall.monotonic() - began
