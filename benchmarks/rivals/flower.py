"""Federated averaging as a Flower simulation, with its own strategy: `flower.py DIRECTORY ROUNDS`."""

import sys
import time
from collections.abc import Sequence

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from workload import (
    CLIENTS,
    HELD_OUT_ROWS,
    TRAIN_ROWS,
    Rows,
    Span,
    evaluate,
    load_model,
    load_rows,
    measure,
    read_weights,
    report,
    train,
)

client_app, server_app = ClientApp(), ServerApp()


@client_app.train()
def answer_train(message: Message, context: Context) -> Message:
    """Train from what the server sent."""
    directory, rows = load_client(message, context)
    weights = message.content["arrays"].to_torch_state_dict()
    trained, span = measure(train, load_model(directory), rows, weights)
    metrics = {"num-examples": TRAIN_ROWS, "start": span[0], "end": span[1]}
    return make_reply(message, {"arrays": ArrayRecord(trained), "metrics": MetricRecord(metrics)})


@client_app.evaluate()
def answer_evaluate(message: Message, context: Context) -> Message:
    """Evaluate what the server sent."""
    directory, rows = load_client(message, context)
    weights = message.content["arrays"].to_torch_state_dict()
    loss, span = measure(evaluate, load_model(directory), rows, weights)
    metrics = {"num-examples": HELD_OUT_ROWS, "loss": loss, "start": span[0], "end": span[1]}
    return make_reply(message, {"metrics": MetricRecord(metrics)})


def load_client(message: Message, context: Context) -> tuple[str, Rows]:
    """Load a client's rows and its process's model, before any clock starts."""
    directory = str(message.content["config"]["directory"])
    load_model(directory)
    return directory, load_rows(directory, int(context.node_config["partition-id"]))


def make_reply(message: Message, records: dict[str, ArrayRecord | MetricRecord]) -> Message:
    """Make the reply to a message."""
    return Message(content=RecordDict(records), reply_to=message)


class Keeper:
    """Keeps each client's spans, which averaging would lose, and the mean loss of each round."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.training: list[Span] = []
        self.evaluation: list[Span] = []
        self.losses: list[float] = []

    def keep_training(self, replies: Sequence[RecordDict], _key: str) -> MetricRecord:
        """Keep what the training clients measured."""
        self.training += read_spans(replies)
        return MetricRecord()

    def keep_evaluation(self, replies: Sequence[RecordDict], _key: str) -> MetricRecord:
        """Keep what the evaluating clients measured."""
        self.evaluation += read_spans(replies)
        loss = sum(reply["metrics"]["loss"] for reply in replies) / len(replies)
        self.losses.append(loss)
        return MetricRecord({"loss": loss})


def read_spans(replies: Sequence[RecordDict]) -> list[Span]:
    """Read when each client worked."""
    return [(reply["metrics"]["start"], reply["metrics"]["end"]) for reply in replies]


@server_app.main()
def serve(grid: Grid, _context: Context) -> None:
    """Run the strategy, and say where the time went."""
    directory, rounds, keeper = sys.argv[1], int(sys.argv[2]), Keeper()
    strategy = FedAvg(
        min_train_nodes=CLIENTS,
        min_evaluate_nodes=CLIENTS,
        min_available_nodes=CLIENTS,
        train_metrics_aggr_fn=keeper.keep_training,
        evaluate_metrics_aggr_fn=keeper.keep_evaluation,
    )
    arrays, config = ArrayRecord(read_weights(load_model(directory))), {"directory": directory}
    strategy.start(
        grid,
        arrays,
        rounds,
        train_config=ConfigRecord(dict(config)),
        evaluate_config=ConfigRecord(dict(config)),
    )
    if len(keeper.losses) < rounds:
        raise RuntimeError(f"{len(keeper.losses)} of {rounds} rounds were played")
    report(keeper.training, keeper.evaluation, time.time(), keeper.losses)


if __name__ == "__main__":
    workers = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}  # as many at once as there are cores
    run_simulation(server_app, client_app, num_supernodes=CLIENTS, backend_config=workers)
