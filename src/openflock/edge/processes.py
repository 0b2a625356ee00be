"""Processes of our own: commands in groups of their own, and executors; all end with us, even where we are killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

GRACE = 10.0  # seconds from asking a process to end to ending it

# Linux tells a process when its parent dies (the thread that started it). It must ask for that itself: a small
# Python does, and then becomes the command, under the same number. Elsewhere than on Linux the command just starts.
GUARD = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


def start_process(
    command: Sequence[str], log: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command whose output goes to the end of `log`, or nowhere; its first word is the path of a program.

    Call it from a thread that lives as long as the process should.
    """
    guarded = [sys.executable, "-I", "-S", "-c", GUARD, str(os.getpid()), *command]
    with (log or Path(os.devnull)).open("ab") as output:
        return subprocess.Popen(  # noqa: S603
            guarded,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on
        )


def end_process(process: subprocess.Popen[bytes], grace: float = GRACE) -> int:
    """Ask a process to end, end it if it does not, and return its exit code."""
    if process.poll() is None:
        for number in (signal.SIGTERM, signal.SIGCONT):  # a stopped one hears nothing
            os.killpg(process.pid, number)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def get_start(pid: int) -> float | None:
    """Read when a process was started, None if there is none: with its number, what tells it from all others."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


# --- Executors -----------------------------------------------------------------------------------------------


class Executor(ProcessPoolExecutor):
    """Processes that run functions of ours, in our own group; they leave a Ctrl-C to us, and end with us.

    They are forks of a process that has imported what they need and nothing else: the libraries of a model take ten
    seconds of a processor to import, and hundreds of MiB, once for all of them.
    """

    def __init__(self, count: int, prepare: Callable[[], object] | None = None, *, needs: str = __name__) -> None:
        """Let each of `count` processes first call `prepare`, which must pickle; `needs` names a module to import.

        The first executor of a program says what is imported beforehand; the others' processes do it themselves.
        """
        context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
        context.set_forkserver_preload([needs])
        super().__init__(count, context, _start_work, (prepare,))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Wait for what was submitted; after an exception end the processes at once, whatever they are at."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)
        for process in processes if kind else ():
            process.terminate()


def _start_work(prepare: Callable[[], object] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()  # or it would outlive one that is killed
    if prepare is not None:
        prepare()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
