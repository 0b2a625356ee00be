"""Federated averaging as a plain loop: `bare.py DIRECTORY ROUNDS`."""

import sys
import time
from statistics import mean

import torch
from workload import CLIENTS, Weights, evaluate, load_model, load_rows, measure, read_weights, report, train


def average(updates: list[Weights]) -> Weights:
    """Average adapters; all clients train on equally many rows."""
    return {name: torch.stack([update[name] for update in updates]).mean(dim=0) for name in updates[0]}


def main(directory: str, rounds: int) -> None:
    """Train, average and evaluate, round by round."""
    model = load_model(directory)
    clients = [load_rows(directory, client) for client in range(CLIENTS)]
    weights, losses, training, evaluation = read_weights(model), [], [], []
    for _ in range(rounds):
        updates, spans = zip(*(measure(train, model, rows, weights) for rows in clients), strict=True)
        weights = average(list(updates))
        found, looks = zip(*(measure(evaluate, model, rows, weights) for rows in clients), strict=True)
        losses.append(mean(found))
        training += spans
        evaluation += looks
    report(training, evaluation, time.time(), losses)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
