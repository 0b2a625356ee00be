"""What does merging 8 updates of a 70B model's adapter cost, beside reading and hashing the same bytes?

Shape: Llama-3-70B, rank 16 on all linear layers, int8 blocks. Every rival is a process of its own over files that lie
in the page cache; its clock runs from opening the files to the digest of the result.

floor     reads and hashes, once, what we read and hash: the updates, the state, and the candidate
ours      verifies every digest, merges, and hashes the candidate: what a voter does before it attests
admit     what each voter does once an update: form, parent, exact norm
store     ours, and the candidate written to disk and synchronised
compare   what a recipe asks for that mixes, beside ours: all products of the updates' changes
remember  the same by the direction of six rounds of them together, as the default does (docs/decisions/0023-memory.md)
torch     averages state dicts of float32 adapters (both factors, as others send them)
flower    the same by the function that Flower's FedAvg calls
"""

import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from statistics import median

import numpy as np
from _harness import Goal, Run, compute_ratio, finish, parse_arguments, run_process, show_table, take_turns
from _shapes import LAYERS, build_layout, put_initial, put_random_update, write_float_adapter

from openflock.app.settings import DEFAULT_MEMORY
from openflock.edge.blobs import DirectoryStore
from openflock.protocol.recipe import Recipe
from openflock.update.admission import check_admission
from openflock.update.aggregate import stream_candidate
from openflock.update.ahead import map_ahead
from openflock.update.codec import decode_state, decode_update, hash_stream
from openflock.update.fixed import GlobalState
from openflock.update.robust import compute_plan
from openflock.update.trail import compare_trails

HERE = Path(__file__).parent
RIVALS = HERE.parent / ".venv-rivals" / "bin" / "python"
CEILING = 2**60  # random bytes are no trained update


# --- One process ---------------------------------------------------------------------------------------------


def load(directory: Path, names: list[str]) -> tuple[DirectoryStore, GlobalState]:
    """Open the store and the verified state."""
    store = DirectoryStore(directory / "blobs")
    parent = bytes.fromhex(names[0])
    return store, decode_state(store.fetch(parent, 2**40), parent)


def read_and_hash(directory: Path, names: list[str]) -> None:
    """Read and hash the updates, the state, and once more as many bytes as the state for the candidate."""
    for name in [names[0], *names]:
        with (directory / "blobs" / name).open("rb") as file:
            file_digest(file, "sha256")


def admit(directory: Path, names: list[str]) -> None:
    """Admit every update."""
    store, state = load(directory, names)
    for name in names[1:]:
        check_admission(state, store.fetch(bytes.fromhex(name), 2**40), CEILING)


def merge(directory: Path, names: list[str], *, stored: bool) -> None:
    """Verify, decode and merge updates, with equal weights."""
    store = DirectoryStore(directory / "blobs")
    parent, *digests = (bytes.fromhex(name) for name in names)
    blob, *blobs = map_ahead(lambda digest: store.fetch(digest, 2**40), [parent, *digests])
    state = decode_state(blob, parent)
    updates = list(map_ahead(lambda blob: decode_update(state, blob), blobs))
    plan = compute_plan(Recipe(), [1] * len(updates), np.zeros((len(updates),) * 2, object), digests)
    parts = stream_candidate(state, updates, plan)
    store.put_stream(parts) if stored else hash_stream(parts)


def compare(directory: Path, names: list[str], rounds: int) -> None:
    """Compare the updates with one another, each as if some of the others had been its proposer's before."""
    store, state = load(directory, names)
    updates = [decode_update(state, store.fetch(bytes.fromhex(name), 2**40)) for name in names[1:]]
    ring = updates * (rounds + 1)
    earlier = [{ago: ring[place + ago] for ago in range(1, rounds)} for place in range(len(updates))]
    compare_trails(state, updates, earlier, [0] * len(updates))


ROLES: dict[str, Callable[[Path, list[str]], None]] = {
    "floor": read_and_hash,
    "ours": lambda directory, names: merge(directory, names, stored=False),
    "store": lambda directory, names: merge(directory, names, stored=True),
    "admit": admit,
    "compare": lambda directory, names: compare(directory, names, 1),
    "remember": lambda directory, names: compare(directory, names, DEFAULT_MEMORY),
}


def play_role() -> None:
    """Do one rival's work in this process and print its seconds: ROLE DIRECTORY DIGEST..."""
    role, directory, *names = sys.argv[2:]
    start = time.perf_counter()
    ROLES[role](Path(directory), names)
    print(time.perf_counter() - start)


# --- All of them ---------------------------------------------------------------------------------------------


def run_role(role: str, directory: Path, names: list[str]) -> Run:
    """Measure one of ours in a process of its own."""
    return run_process([sys.executable, __file__, "--role", role, str(directory), *names])


def run_rival(rival: str, files: list[Path]) -> Run:
    """Measure one of the others in a process of its own; torch is the same in both environments."""
    return run_process(
        [str(RIVALS), str(HERE / "_average.py"), rival, *map(str, files)], {"FLWR_TELEMETRY_ENABLED": "0"}
    )


def measure_rivals(directory: Path, layers: int, updates: int, pairs: int) -> dict[str, list[Run]]:
    """Measure all on the same work, taking turns."""
    names = prepare(directory, layers, updates)
    files = [directory / f"{seed}.safetensors" for seed in range(updates)]
    for seed, file in enumerate(files):
        write_float_adapter(file, build_layout(layers), seed)
    ours = {role: (lambda role=role: run_role(role, directory, names)) for role in ROLES}
    others = {rival: (lambda rival=rival: run_rival(rival, files)) for rival in ("torch", "flower")}
    return take_turns({**ours, **others}, pairs)


def prepare(directory: Path, layers: int, updates: int) -> list[str]:
    """Store a state and updates of it; give their digests in hexadecimal, the state's first."""
    store = DirectoryStore(directory / "blobs")
    parent = put_initial(store, layers, Recipe())
    state = decode_state(store.fetch(parent, 2**40), parent)
    return [parent.hex(), *(put_random_update(store, state, parent, seed).hex() for seed in range(updates))]


def measure_growth(directory: Path, layers: int, counts: tuple[int, ...]) -> dict[int, float]:
    """Measure the peak memory of merging more and more updates, in MiB."""
    names = prepare(directory, layers, max(counts))
    return {count: run_role("ours", directory, names[: count + 1]).peak_mib for count in counts}


def read_seconds(runs: list[Run]) -> list[float]:
    """Read the inner seconds that the processes printed."""
    return [float(run.output.split()[-1]) for run in runs]


def main() -> None:
    """Measure, print, write JSON."""
    args = parse_arguments(__doc__)
    layers, pairs, counts = (16, 3, (2, 16)) if args.quick else (LAYERS, 5, (2, 8, 64))
    with tempfile.TemporaryDirectory() as directory:
        runs = measure_rivals(Path(directory), layers, 8, pairs)
        growth = measure_growth(Path(directory), layers, counts)
    seconds = {name: read_seconds(each) for name, each in runs.items()}
    peaks = {name: median(run.peak_mib for run in each) for name, each in runs.items()}
    ratios = {name: compute_ratio(each, seconds["floor"]) for name, each in seconds.items()}
    rows = [
        (name, f"{median(each):.2f}", f"{ratios[name]:.2f}", f"{peaks[name]:,.0f}") for name, each in seconds.items()
    ]
    size = build_layout(layers).compute_size("B") / 1e6
    title = f"8 updates, {layers} of {LAYERS} layers, {size:.1f} million numbers each"
    show_table(title, ("", "seconds", "x floor", "peak MiB"), rows)
    show_table("Memory of ours by updates", ("updates", "peak MiB"), [(str(n), f"{m:,.0f}") for n, m in growth.items()])
    faster, lighter = compute_ratio(seconds["flower"], seconds["ours"]), peaks["ours"] / peaks["flower"]
    grown = growth[max(counts)] / growth[min(counts)]
    goals = [
        Goal("seconds of ours over the floor", ratios["ours"], "<= 1.5", ratios["ours"] <= 1.5),
        Goal("times faster than Flower's FedAvg", faster, ">= 5", faster >= 5),
        Goal("peak memory over Flower's", lighter, "<= 0.125", lighter <= 0.125),
        Goal(f"peak memory at {max(counts)} updates over {min(counts)}", grown, "<= 1.2", grown <= 1.2),
    ]
    finish(args, goals, {"layers": layers, "seconds": seconds, "peak_mib": peaks, "growth_mib": growth})


if __name__ == "__main__":
    play_role() if sys.argv[1:2] == ["--role"] else main()
