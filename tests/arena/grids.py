"""A grid so small that a cell takes about a second."""

from openflock.app.arena import agree
from openflock.arena.settings import GridTable

TABLE = {
    "title": "tiny",
    "tune": {"seeds": [0]},
    "report": {"seeds": [100, 101]},
    "worlds": {
        "skills": {
            "domains": ["reverse", "shift"], "nodes": 4, "rounds": 1, "rank": 2, "steps": 2, "batch_size": 4,
            "rows": {"train": 8, "held_out": 4, "report": 4},
        }
    },
    "attacks": {
        "absent": {"present": False},
        "none": {},
        "badnets": {"poison": "trigger"},
        "breaker": {"delta": "ipm"},
        "replacement": {"poison": "trigger", "delta": "model_replacement", "options": {"factor": 4.0}},
    },
    "defences": {"mean": {}, "fedavg": {"kind": "optimizer"}, "ours": {"kind": "protocol"}},
    "grid": [
        {"worlds": ["skills"], "attacks": ["absent"], "defences": ["mean"]},
        {"worlds": ["skills"], "attacks": ["none", "replacement"], "defences": ["mean", "ours"]},
    ],
}  # fmt: skip

BOTH_FACTORS = {"kind": "protocol", "recipe": {"mode": "separate"}}


def make_grid(**changes):
    """The grid, with some of its tables replaced."""
    grid = GridTable.model_validate(TABLE | changes)
    return grid.model_copy(update={"defences": {name: agree(table) for name, table in grid.defences.items()}})
