"""A process that is killed again and again at any instant makes each of its calls once."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from openflock.edge.evm_ledger import EvmLedger
from openflock.protocol.calls import Call, Fund

from ..behaviour.ledgers import CREATOR, GAS, KEYS, AnvilChain, deploy, needs_anvil
from ..protocol.helpers import make_rules

pytestmark = [*needs_anvil, pytest.mark.slow]
CALLS, KILLS = 16, 40
# Forks a worker for each line that it reads: what is killed costs no start of Python. The worker knows only the chain
# and the journal, as a node does that starts again.
WORK = """
import os, sys, time
from pathlib import Path
from eth_account import Account
from openflock.edge.evm_ledger import EvmLedger
from openflock.edge.journal import Journal
from openflock.edge.rpc import connect
from openflock.protocol.calls import Fund
from openflock.protocol.ports import Unreachable

url, task, key, path, calls = sys.argv[1:]

def work():
    account = Account.from_key(key)
    me = account.address.lower()
    ledger = EvmLedger(connect([url]), task, {me: account}, None, 2, Journal(Path(path)), patience=5)
    while (made := sum(entry.item.sender == me for entry in ledger.read(0))) < int(calls):
        ledger.submit(Fund(me, made + 1))
        time.sleep(0.02)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


def test_a_process_killed_at_any_instant_makes_each_call_once(tmp_path):
    random, chain = Random(7), AnvilChain(list(KEYS))
    task = deploy(chain.web3, make_rules(), GAS).address
    before = chain.web3.eth.get_transaction_count(KEYS[CREATOR].address)
    chain.anvil.request("evm_setAutomine", False)
    command = [
        sys.executable,
        "-c",
        WORK,
        chain.url,
        task,
        KEYS[CREATOR].key.hex(),
        tmp_path / "journal.db",
        str(CALLS),
    ]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    killed = 0
    try:
        for attempt in range(KILLS + 1):
            worker.stdin.write("go\n")
            worker.stdin.flush()
            pid = int(worker.stdout.readline())
            end = time.monotonic() + (random.uniform(0, 0.5) if attempt < KILLS else 30)
            while time.monotonic() < end and Path(f"/proc/{pid}/stat").exists():
                chain.mine()
                time.sleep(0.02)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            status = int(worker.stdout.readline())
            killed += status == signal.SIGKILL
            if status == 0:
                break
    finally:
        worker.stdin.close()
        worker.terminate()
        worker.wait(timeout=10)
        worker.stdout.close()
    items = [entry.item for entry in EvmLedger(chain.web3, task, {}).read(0)]
    sent = chain.web3.eth.get_transaction_count(KEYS[CREATOR].address) - before
    chain.close()
    assert status == 0, "it never came to its end"
    assert killed > 5
    assert [item for item in items if isinstance(item, Call)] == [Fund(CREATOR, 1 + index) for index in range(CALLS)]
    assert sent == 2 * CALLS  # each with its approval
