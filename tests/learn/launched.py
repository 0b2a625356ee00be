"""What test_sharded.py runs, in one process and under a launcher: a node's heavy work, its results as a file."""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from openflock.learn.crew import dismiss, follow, get_number
from openflock.learn.data import parse_row
from openflock.learn.evaluate import compute_loss, generate_all, match_answers
from openflock.learn.model import load_model
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings, train
from openflock.update.fixed import initial_state


def make_rows(count, split):
    return [parse_row(row, "x:1") for row in generate_rows("reverse", count, 1, split)]


def work(base, out, **settings):
    """Judge, train, judge again. 5 rows a step and 7 to judge: neither number divides by two or three."""
    model = load_model(base)
    state = initial_state(model.layout, b"sharded")
    model.load_state(state)
    judged = make_rows(7, "validation")
    before = compute_loss(model, judged)
    learned = train(model, state, make_rows(32, "train"), TrainSettings(steps=5, batch_size=5, **settings), seed=1)
    after = compute_loss(model, judged)
    matches = match_answers(model, judged)
    answers = generate_all(model, [judged[0].messages], max_new_tokens=8)  # fewer rows than processes
    np.savez(out, before=before, after=after, matches=matches, answers=answers, **learned["B"])


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if get_number() > 0:
        follow(load_model)
    else:
        work(Path(sys.argv[1]), Path(sys.argv[2]))
        dismiss()
