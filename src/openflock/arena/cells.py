"""Run one cell of a grid, and write down what came of it: the same cell gives the same record, but for its seconds."""

import hashlib
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from openflock.arena.layered import run_layered
from openflock.arena.plain import run_plain
from openflock.arena.settings import Cell
from openflock.arena.stage import open_stage

Record = dict[str, Any]


def compute_cell_digest(cell: Cell) -> str:
    """Name a cell by all that its tables say: a record under another digest is one of another cell."""
    return hashlib.sha256(cell.model_dump_json().encode()).hexdigest()[:32]


@lru_cache
def name_machine() -> str:
    """Name what floats depend on: the processor, the instructions that are used of it, and the library that computes.

    A name alone will not do: what a hypervisor calls AMD EPYC may or may not have AVX-512.
    """
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    said = {field.strip(): value.strip() for field, _, value in (line.partition(":") for line in lines)}
    kind = [said[field] for field in ("model name", "cpu family", "model") if field in said] or [platform.machine()]
    return f"{' '.join(kind)} {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def run_cell(cell: Cell) -> Record:
    """Play a cell to its end, on one thread."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    stage = open_stage(cell)
    with stage.meter.watching(stage.world.model):
        (run_layered if cell.defence.kind == "protocol" else run_plain)(stage)
    world, split, attack, defence, trigger = cell.names
    return {
        "cell": compute_cell_digest(cell),
        "phase": cell.phase,
        "world": world,
        "split": split,
        "attack": attack,
        "defence": defence,
        "trigger": trigger,
        "seed": cell.seed,
        "domains": [cell.world.domains[party.domain] for party in stage.world.parties],
        "malicious": [place for place, party in enumerate(stage.world.parties) if party.malicious],
        "rounds": stage.rounds,
        # Not those of training and measuring: what was remembered from another cell passes nothing.
        "passes": {name: rows for name, rows in sorted(stage.meter.rows.items()) if name not in ("training", "report")},
        "machine": name_machine(),
        "seconds": round(time.perf_counter() - began, 2),
    }
