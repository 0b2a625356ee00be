"""How long until five voters have an update that one proposer made, and how much must the proposer send?

All by the stores that a node uses, each party a process of its own on this machine, all hashing what they get:

torrent   the proposer serves a swarm, voters serve on what they have; a tracker says who is there
s3        the proposer uploads once, voters download by ranges (moto's server, which is Python: S3 itself is faster)
copies    the proposer runs a web server, and every voter downloads from it

The clock runs from the moment at which the proposer holds the bytes to the last voter's verified copy. Files lie
in memory, where the machine has /dev/shm, so that its disk is not what is measured; and there is no slow line, so what
a real network makes of each way follows from the copies that the proposer sends rather than from these seconds.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from hashlib import file_digest
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO, Any
from urllib.request import Request, urlopen

import psutil
from _harness import MIB, Goal, Run, compute_ratio, finish, parse_arguments, run_process, show_table, take_turns

from openflock.edge.blobs import map_file
from openflock.edge.stores import Store, open_store
from openflock.edge.tracker import start_tracker

VOTERS = 5
SIZE, QUICK_SIZE = 500 * 10**6, 32 * 10**6  # bytes
PAIRS, QUICK_PAIRS = 1, 2
WAYS = ("torrent", "s3", "copies")
SENT_GOAL = 2.5  # copies that the proposer of a torrent sends, of five
WAITS = 60  # seconds for a server to answer
S3 = {
    "AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


# --- The parties: they say what they have done, and wait for a line before each step ----------------------------


def say(**words: Any) -> None:
    """Tell the way's process something, and wait for its word to go on."""
    print(json.dumps(words), flush=True)
    sys.stdin.readline()


def play_proposer(url: str, cache: Path, blob: Path) -> None:
    """Put a blob, and see it out: URL, or nothing for a web server of its own."""
    with ExitStack() as stack, blob.open("rb") as file:
        server = stack.enter_context(serve(cache)) if not url else None
        store: Store = stack.enter_context(closing(open_store(url or str(cache), cache)))
        say(url=f"http://127.0.0.1:{server.server_port}" if server else url)
        store.put(map_file(file))
        say(put=True)
        say(sent=server.sent if server else count_sent(store, blob))


def play_voter(url: str, cache: Path, digest: str, size: str) -> None:
    """Fetch a blob, and serve it on where the store does."""
    with closing(open_store(url, cache)) as store:
        say(ready=True)
        store.fetch(bytes.fromhex(digest), int(size))
        say(at=time.time())
        say(sent=count_sent(store, None))


def count_sent(store: Store, uploaded: Path | None) -> int:
    """Count what a party sent: to peers, or once to S3."""
    swarm = getattr(store, "swarm", None)
    if swarm is not None:
        return int(swarm.count_sent())
    return uploaded.stat().st_size if uploaded else 0


class Counting(SimpleHTTPRequestHandler):
    """A web server that counts what it sends."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file; a reader who has seen enough hangs up."""
        while chunk := source.read(2**16):
            try:
                outputfile.write(chunk)
            except OSError:
                return
            self.server.sent += len(chunk)  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serve(directory: Path) -> Iterator[Any]:
    """Serve a directory to all."""
    directory.mkdir(parents=True, exist_ok=True)
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counting, directory=str(directory)))
    server.sent = 0
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- One way -----------------------------------------------------------------------------------------------------


class Party:
    """A process that plays a role, step by step."""

    def __init__(self, stack: ExitStack, environment: Mapping[str, str], *words: str) -> None:
        """Start it, to be ended with the stack."""
        command = [sys.executable, __file__, "--role", *words]
        self._process = stack.enter_context(
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
            )
        )
        stack.callback(self._process.kill)
        self._input, self._output = _require(self._process.stdin), _require(self._process.stdout)

    def listen(self) -> dict[str, Any]:
        """Read its next words."""
        line = self._output.readline()
        if not line:
            raise RuntimeError(f"a party ended with {self._process.wait()}")
        words: dict[str, Any] = json.loads(line)
        return words

    def go_on(self) -> None:
        """Let it take the next step."""
        self._input.write("\n")
        self._input.flush()


def _require(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise RuntimeError("a pipe is missing")
    return stream


@contextmanager
def start_s3() -> Iterator[tuple[str, int]]:
    """Start an S3 server with a bucket; give its address and process."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(line.split()[-1] for line in _require(process.stderr) if "Running on" in line)
            Thread(target=lambda: [None for _ in _require(process.stderr)], daemon=True).start()
            urlopen(Request(f"{address}/blobs", method="PUT"), timeout=WAITS).close()  # noqa: S310  (our own server)
            yield address, process.pid
        finally:
            process.kill()


def go(way: str, directory: Path, blob: Path) -> None:
    """Let a proposer and its voters do it one way; print what was measured."""
    with ExitStack() as stack:
        url, environment, server = "", {}, None
        if way == "torrent":
            url = stack.enter_context(start_tracker()).url
        elif way == "s3":
            address, server = stack.enter_context(start_s3())
            url, environment = "s3://blobs", {**S3, "AWS_ENDPOINT_URL": address}
        proposer = Party(stack, environment, "proposer", url, str(directory / "proposer"), str(blob))
        url = proposer.listen()["url"]
        words = (compute_name(blob), str(blob.stat().st_size))
        caches = [str(directory / f"voter-{number}") for number in range(VOTERS)]
        voters = [Party(stack, environment, "voter", url, cache, *words) for cache in caches]
        for voter in voters:
            voter.listen()
        began = time.time()
        proposer.go_on()
        proposer.listen()
        placed = time.time()
        for voter in voters:
            voter.go_on()
        ends = [voter.listen()["at"] for voter in voters]
        sent = []
        for party in (proposer, *voters):
            party.go_on()
            sent.append(party.listen()["sent"])
        held = psutil.Process(server).memory_full_info().pss / MIB if server else 0.0
        for party in (proposer, *voters):
            party.go_on()
        seconds = {"put": placed - began, "first voter": min(ends) - began, "last voter": max(ends) - began}
        print(json.dumps({"seconds": seconds, "sent": sent[0], "by_voters": sum(sent[1:]), "server_mib": held}))


def compute_name(blob: Path) -> str:
    """Hash a file."""
    with blob.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


# --- All ways ----------------------------------------------------------------------------------------------------


def run_way(way: str, directory: Path, blob: Path) -> Run:
    """Measure one way in a directory of its own, all of its processes together."""
    with TemporaryDirectory(dir=directory) as place:
        return run_process([sys.executable, __file__, "--role", "way", way, place, str(blob)], {"OMP_NUM_THREADS": "1"})


def describe(runs: Sequence[Run], size: int) -> dict[str, Any]:
    """Give the medians of one way's runs."""
    found = [json.loads(run.output.splitlines()[-1]) for run in runs]
    return {
        "seconds": {part: median(each["seconds"][part] for each in found) for part in found[0]["seconds"]},
        "seconds_of_each": [each["seconds"]["last voter"] for each in found],
        "copies_sent": median(each["sent"] / size for each in found),
        "copies_sent_of_each": [each["sent"] / size for each in found],
        "copies_by_voters": median(each["by_voters"] / size for each in found),
        "cpu_seconds": median(run.cpu_seconds for run in runs),
        "peak_mib": median(run.peak_mib for run in runs),
        "server_mib": median(each["server_mib"] for each in found),
    }


def show(ways: Mapping[str, dict[str, Any]], size: int) -> None:
    """Print the table of all ways."""
    rows = [
        (
            way,
            *(f"{seconds:.1f}" for seconds in found["seconds"].values()),
            f"{found['copies_sent']:.2f}",
            f"{found['copies_by_voters']:.2f}",
            f"{found['cpu_seconds']:.1f}",
            f"{found['peak_mib']:.0f}",
            f"{found['server_mib']:.0f}",
        )
        for way, found in ways.items()
    ]
    headings = ("", "put s", "first s", "last s", "copies sent", "by voters", "CPU s", "MiB", "of it, server")
    show_table(f"{size / 1e6:.0f} MB from a proposer to {VOTERS} voters, medians", headings, rows)


def main() -> None:
    """Measure all ways in turn; print the table and the goals."""
    args = parse_arguments(__doc__)
    load_before = os.getloadavg()[0]
    size, pairs = (QUICK_SIZE, QUICK_PAIRS) if args.quick else (SIZE, PAIRS)
    memory = Path("/dev/shm")  # noqa: S108  (files of ours in a directory of ours)
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        directory = Path(name)
        blob = directory / "blob"
        with blob.open("wb") as file:
            file.writelines(random.Random(start).randbytes(MIB) for start in range(0, size, MIB))
            file.truncate(size)
        runs = take_turns({way: partial(run_way, way, directory, blob) for way in WAYS}, pairs)
    ways = {way: describe(each, size) for way, each in runs.items()}
    show(ways, size)
    last = {way: found["seconds_of_each"] for way, found in ways.items()}
    sent, ratio = ways["torrent"]["copies_sent"], compute_ratio(last["torrent"], last["s3"])
    goals = [
        Goal("copies a torrent's proposer sends to five", sent, f"<= {SENT_GOAL}", sent <= SENT_GOAL),
        Goal("torrent's seconds, share of S3's", ratio, "< 1", ratio < 1),
    ]
    load = {"load_before": load_before, "files": "in memory" if memory.is_dir() else "on disk"}
    finish(args, goals, {"bytes": size, "voters": VOTERS, "pairs": pairs, **load, "ways": ways})


ROLES: dict[str, Callable[..., None]] = {
    "proposer": lambda url, cache, blob: play_proposer(url, Path(cache), Path(blob)),
    "voter": lambda url, cache, *words: play_voter(url, Path(cache), *words),
    "way": lambda way, directory, blob: go(way, Path(directory), Path(blob)),
}

if __name__ == "__main__":
    ROLES[sys.argv[2]](*sys.argv[3:]) if sys.argv[1:2] == ["--role"] else main()
