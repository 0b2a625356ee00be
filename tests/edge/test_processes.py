import ast
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from openflock.edge.processes import Executor, end_process, get_start, start_process


def await_end(pid):
    deadline = time.monotonic() + 30
    while get_start(pid) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    return get_start(pid) is None


# --- Processes -----------------------------------------------------------------------------------------------


def test_a_process_writes_to_its_log_and_its_end_gives_its_code(tmp_path):
    process = start_process([sys.executable, "-c", "print('said'); raise SystemExit(3)"], tmp_path / "log")
    assert process.wait(30) == 3
    assert end_process(process) == 3
    assert (tmp_path / "log").read_text() == "said\n"


COMMAND = """
import time
from openflock.edge.processes import start_process
print(start_process(["/bin/sleep", "600"]).pid, flush=True)
time.sleep(600)
"""
EXECUTOR = """
import os, time
from openflock.edge.processes import Executor
if __name__ == "__main__":
    executor = Executor(1)
    print(executor.submit(os.getpid).result(), flush=True)
    executor.submit(time.sleep, 600).result()
"""
only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")


@pytest.mark.parametrize("script", [pytest.param(COMMAND, marks=only_linux), EXECUTOR], ids=["command", "executor"])
def test_a_process_ends_with_its_starter_however_that_ends(tmp_path, script):
    path = tmp_path / "starter.py"
    path.write_text(script)
    starter = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    child = int(starter.stdout.readline())
    try:
        assert get_start(child) is not None
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        assert await_end(child)
    finally:
        starter.kill()
        starter.stdout.close()
        starter.wait()


@pytest.mark.parametrize("first", [True, False])
def test_an_executor_left_by_an_exception_ends_its_processes_and_no_others(first):
    with Executor(1) as other:
        spared = other.submit(os.getpid).result() if first else None
        with suppress(ZeroDivisionError), Executor(1) as executor:
            worker = executor.submit(os.getpid).result()
            spared = spared or other.submit(os.getpid).result()
            executor.submit(time.sleep, 600)
            raise ZeroDivisionError
        assert await_end(worker)
        assert other.submit(os.getpid).result() == spared


NEEDY = """
import os, sys
from openflock.edge.processes import Executor
def look():
    return os.getppid(), "wave" in sys.modules
if __name__ == "__main__":
    with Executor(2, needs="wave") as executor:
        print({done.result() for done in [executor.submit(look) for _ in range(20)]})
"""


@only_linux
def test_what_an_executor_needs_is_imported_once_for_all_its_processes(tmp_path):
    path = tmp_path / "starter.py"
    path.write_text(NEEDY)
    found = ast.literal_eval(subprocess.run([sys.executable, path], stdout=subprocess.PIPE, check=True).stdout.decode())
    assert [has for _, has in found] == [True]


@pytest.mark.parametrize("state", ["deaf", "stopped"])
def test_a_process_that_does_not_listen_is_ended_all_the_same(tmp_path, state):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    process = start_process([sys.executable, "-c", deaf], tmp_path / "log")
    while not (tmp_path / "log").read_text():
        time.sleep(0.01)
    if state == "stopped":
        os.kill(process.pid, signal.SIGSTOP)
    assert end_process(process, grace=0.2) == -signal.SIGKILL


def test_a_process_is_known_by_its_start(tmp_path):
    assert get_start(os.getpid()) < time.time()
    process = start_process([sys.executable, "-c", ""])
    process.wait()
    assert get_start(process.pid) is None
