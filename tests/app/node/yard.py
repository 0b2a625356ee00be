"""A task on an Anvil of its own, with funded wallets, data and a store: all that real node processes need."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from eth_account import Account
from web3 import Web3

from openflock.app.rows import seal_rows
from openflock.app.settings import TOKEN, parse_config
from openflock.app.world import agree_rules, load_task_model
from openflock.edge.anvil import Anvil, start_anvil
from openflock.edge.blobs import DirectoryStore
from openflock.edge.deploy import create_task, deploy_factory, deploy_token
from openflock.edge.evm_ledger import EvmLedger
from openflock.edge.rpc import connect
from openflock.learn.skills import generate_rows
from openflock.node.reader import Reader
from openflock.protocol.calls import Fund

PASSWORD = "a word that nobody guesses"
DOMAINS = ("reverse", "shift")
RULES = {
    "rounds": 1, "gather": 8, "max_tries": 50, "propose": 120, "publish": 60, "probe": 2, "expose": 10, "vote": 120,
    "reveal": 60, "attest": 120, "confirm": 60, "tolerance": 2000, "unbonding": 900,
}  # fmt: skip
SETTINGS = "held_out = 8\n[train]\nsteps = 2\nbatch_size = 4\n"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}


@dataclass
class Yard:
    """Where nodes are started, and ended with the test."""

    path: Path
    anvil: Anvil
    task: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def list_options(self, number: int, **changes: object) -> list[str]:
        """The options of one node's command; None leaves one out."""
        options = {
            "task": self.task,
            "rpc": self.anvil.url,
            "store": self.path / "blobs",
            "data": self.path / f"data{number}" / DOMAINS[number % 2] / "train.jsonl",
            "wallet": self.path / f"wallet{number}.json",
            "password-file": self.path / "password",
            "dir": self.path / f"node{number}",
            "config": self.path / "node.toml",
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
        return [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        """Start a command of openflock's."""
        command = [sys.executable, "-m", "openflock", *map(str, arguments)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT, cwd=self.path)
        self.processes.append(process)
        return process

    def run(self, *arguments: object) -> tuple[int, str, str]:
        """Run a command to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def read_log(self, number: int) -> list[dict[str, object]]:
        """Read a node's log."""
        return [json.loads(line) for line in (self.path / f"node{number}" / "node.log").read_text().splitlines()]

    def end(self) -> None:
        """End what was started."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()


@contextmanager
def open_yard(path: Path, nodes: int = 3, sealed: int = 0, **rules: int) -> Iterator[Yard]:
    """Start a chain with a funded task; all ends with the context. What is sealed lies in the path's chest."""
    table = {"title": "small", "domains": list(DOMAINS), "nodes_per_domain": 2, "max_length": 64, "rank": 2, "alpha": 8}
    config = parse_config({**table, "rows": {"sealed": sealed}, "rules": {**RULES, "min_nodes": 3, **rules}})
    model, reader = load_task_model(config), Reader(DirectoryStore(path / "blobs"))
    rows = seal_rows(config, DOMAINS, DirectoryStore(path / "chest"), b"secret")
    agreed = agree_rules(config, DOMAINS, nodes, model, reader, rows)
    accounts = [Account.from_key(sha256(f"yard {index}".encode()).digest()) for index in range(nodes + 1)]
    with start_anvil(block_time=1) as anvil:
        for account in accounts:
            anvil.fund(account.address)
        web3, creator = connect([anvil.url]), accounts[0]
        balances = {account.address.lower(): 1000 * TOKEN for account in accounts}
        token = deploy_token(web3, creator, balances)
        task = create_task(web3, creator, deploy_factory(web3, creator), token, agreed)
        me = creator.address.lower()
        EvmLedger(web3, task, {me: creator}).submit(Fund(me, 100 * TOKEN))
        write_inputs(path, accounts[1:])
        yard = Yard(path, anvil, task)
        try:
            yield yard
        finally:
            yard.end()


def write_inputs(path: Path, accounts: list[Account]) -> None:
    """Write what each node has of its own: wallet and rows."""
    (path / "password").write_text(PASSWORD + "\n")
    (path / "node.toml").write_text(SETTINGS)
    for number, account in enumerate(accounts):
        keystore = Account.encrypt(account.key, PASSWORD, "pbkdf2", 1000)
        (path / f"wallet{number}.json").write_text(json.dumps(keystore))
        domain = DOMAINS[number % 2]
        folder = path / f"data{number}" / domain
        folder.mkdir(parents=True)
        rows = generate_rows(domain, 30 * (number + 1), 0, "train")[30 * number :]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_balance(web3: Web3, address: str) -> int:
    """Read what an account has for gas."""
    return int(web3.eth.get_balance(Web3.to_checksum_address(address)))
