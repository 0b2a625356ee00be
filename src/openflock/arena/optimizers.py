"""The seven federated optimizers of OpenFedLLM (arXiv 2402.06954), by their papers, in floats: baselines.

All numbers of a model stand in one flat vector. A server's step is a function of its state and of what a round brought;
what a client does otherwise is a function too, and a hook for `learn.train`. OpenFedLLM's code departs from the papers:
its FedAvgM keeps a running mean, its adaptive ones square the momentum where the papers square the round's delta, and
take the first delta for the momentum. The papers count here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from openflock.learn.baselines import FACTORS, FloatAdapter
from openflock.learn.train import Adjust
from openflock.update.fixed import Factor

Numbers: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class ServerSettings:
    """Say how a server steps; the defaults are OpenFedLLM's. FedAvg, FedProx and SCAFFOLD take `rate` one."""

    rate: float = 1e-3  # eta, of the adaptive ones
    momentum: float = 0.9  # beta, or beta 1
    decay: float = 0.99  # beta 2
    adaptivity: float = 1e-3  # tau
    server_rate: float = 1.0  # eta_g of SCAFFOLD


@dataclass(frozen=True)
class Server:
    """Hold what a server keeps between rounds."""

    values: Numbers  # x, the model
    moment: Numbers  # v of FedAvgM, m of the adaptive ones
    variance: Numbers  # v of the adaptive ones
    control: Numbers  # c of SCAFFOLD


@dataclass(frozen=True)
class Arrivals:
    """Hold what a round brought: each client's change of the model (K, n), and its number of rows (K,).

    Only SCAFFOLD reads the changes of the clients' controls (K, n), and how many clients there are in all.
    """

    deltas: Numbers
    rows: Numbers
    controls: Numbers | None = None
    clients: int = 0


Optimizer: TypeAlias = Callable[[Server, Arrivals, ServerSettings], Server]


def start_server(values: Numbers, settings: ServerSettings) -> Server:
    """Begin: no momentum, no control, and the least variance that Reddi et al. allow, tau squared."""
    zeros = np.zeros_like(values)
    return Server(values, zeros, np.full_like(values, settings.adaptivity**2), zeros)


# --- Servers -------------------------------------------------------------------------------------------------


def step_fedavg(server: Server, arrivals: Arrivals, settings: ServerSettings) -> Server:  # noqa: ARG001
    """Average by rows (McMahan et al. 2017, arXiv 1602.05629, Algorithm 1). FedProx's server does the same."""
    return replace(server, values=server.values + _average_by_rows(arrivals))


def step_fedavgm(server: Server, arrivals: Arrivals, settings: ServerSettings) -> Server:
    """Keep momentum on the server: v = beta v + delta, x = x + v (Hsu et al. 2019, arXiv 1909.06335)."""
    moment = settings.momentum * server.moment + _average_by_rows(arrivals)
    return replace(server, values=server.values + moment, moment=moment)


def step_fedadagrad(server: Server, arrivals: Arrivals, settings: ServerSettings) -> Server:
    """Divide by the root of all squared deltas so far (Reddi et al. 2021, arXiv 2003.00295, Algorithm 2).

    Without momentum, as the paper runs it.
    """
    delta = arrivals.deltas.mean(axis=0)
    return _step_adaptive(server, delta, server.variance + delta**2, settings)


def step_fedyogi(server: Server, arrivals: Arrivals, settings: ServerSettings) -> Server:
    """Let the variance move by the squared delta alone, whichever is larger (Reddi et al., Algorithm 2)."""
    delta = arrivals.deltas.mean(axis=0)
    variance = server.variance - (1 - settings.decay) * delta**2 * np.sign(server.variance - delta**2)
    return _step_adaptive(server, _mix_moment(server, delta, settings), variance, settings)


def step_fedadam(server: Server, arrivals: Arrivals, settings: ServerSettings) -> Server:
    """Let the variance be a running mean of squared deltas, without bias correction (Reddi et al., Algorithm 2)."""
    delta = arrivals.deltas.mean(axis=0)
    variance = settings.decay * server.variance + (1 - settings.decay) * delta**2
    return _step_adaptive(server, _mix_moment(server, delta, settings), variance, settings)


def step_scaffold(server: Server, arrivals: Arrivals, settings: ServerSettings) -> Server:
    """Average clients alike, and move the control by the share that took part (arXiv 1910.06378, Algorithm 1)."""
    if arrivals.controls is None or arrivals.clients < len(arrivals.deltas):
        raise ValueError("optimizers: SCAFFOLD needs the clients' controls, and how many clients there are in all")
    share = len(arrivals.deltas) / arrivals.clients
    return replace(
        server,
        values=server.values + settings.server_rate * arrivals.deltas.mean(axis=0),
        control=server.control + share * arrivals.controls.mean(axis=0),
    )


def _average_by_rows(arrivals: Arrivals) -> Numbers:
    average: Numbers = arrivals.rows @ arrivals.deltas / arrivals.rows.sum()
    return average


def _mix_moment(server: Server, delta: Numbers, settings: ServerSettings) -> Numbers:
    return settings.momentum * server.moment + (1 - settings.momentum) * delta


def _step_adaptive(server: Server, moment: Numbers, variance: Numbers, settings: ServerSettings) -> Server:
    move = settings.rate * moment / (np.sqrt(variance) + settings.adaptivity)
    return replace(server, values=server.values + move, moment=moment, variance=variance)


OPTIMIZERS: Final[Mapping[str, Optimizer]] = {
    "fedavg": step_fedavg,
    "fedprox": step_fedavg,
    "scaffold": step_scaffold,
    "fedavgm": step_fedavgm,
    "fedadagrad": step_fedadagrad,
    "fedyogi": step_fedyogi,
    "fedadam": step_fedadam,
}


# --- Clients -------------------------------------------------------------------------------------------------


def compute_proximal(gradient: Numbers, values: Numbers, start: Numbers, mu: float) -> Numbers:
    """Add the gradient of mu / 2 |w - w_t|^2, which holds a client near the model it began from (FedProx)."""
    return gradient + mu * (values - start)


def compute_controlled(gradient: Numbers, control: Numbers, own: Numbers) -> Numbers:
    """Take out of a gradient where its client drifts, and put in where all go: g - c_i + c (SCAFFOLD, (3))."""
    return gradient - own + control


def compute_own_control(
    start: Numbers, end: Numbers, control: Numbers, own: Numbers, steps: int, rate: float
) -> Numbers:
    """Compute a client's next control from its whole way: c_i - c + (x - y_i) / (K eta_l) (SCAFFOLD, (4), II)."""
    return own - control + (start - end) / (steps * rate)


def hook_proximal(start: Numbers, mu: float = 0.01) -> Adjust:
    """Give the hook that adds FedProx's term to the gradients; `start` is flat, in the parameters' order."""

    @torch.no_grad()
    def adjust(parameters: Sequence[torch.nn.Parameter]) -> None:
        for parameter, piece in zip(parameters, _split(start, parameters), strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(parameter - piece, alpha=mu)

    return adjust


def hook_control(control: Numbers, own: Numbers, rate: float) -> Adjust:
    """Give the hook that moves parameters by -rate (c - c_i), beside the optimizer's own step.

    With plain SGD of that rate this is SCAFFOLD's step. AdamW's steps have the rate's unit, not a gradient's, and so
    have controls measured from them: added to the gradient they would be lost, or drown it. OpenFedLLM moves weights.
    """
    drift = rate * (control - own)

    @torch.no_grad()
    def adjust(parameters: Sequence[torch.nn.Parameter]) -> None:
        for parameter, piece in zip(parameters, _split(drift, parameters), strict=True):
            parameter.sub_(piece)

    return adjust


def _split(vector: Numbers, parameters: Sequence[torch.nn.Parameter]) -> list[torch.Tensor]:
    ends = np.cumsum([parameter.numel() for parameter in parameters])
    if ends[-1] != vector.size:
        raise ValueError(f"optimizers: a vector of {vector.size} numbers for parameters of {ends[-1]}")
    pieces = np.split(vector, ends[:-1])
    return [torch.from_numpy(piece).view_as(p).to(p) for piece, p in zip(pieces, parameters, strict=True)]


# --- Flat vectors --------------------------------------------------------------------------------------------


def flatten(adapter: FloatAdapter) -> Numbers:
    """Lay an adapter's numbers in one vector, in the order in which `train_plain` holds its parameters."""
    pieces = [values.ravel() for factor in FACTORS for values in adapter[factor].values()]
    return np.concatenate(pieces).astype(np.float64)


def shape_like(vector: Numbers, adapter: FloatAdapter) -> FloatAdapter:
    """Give a vector the shape of an adapter."""
    shaped: dict[Factor, dict[str, NDArray[np.float32]]] = {}
    end = 0
    for factor in FACTORS:
        shaped[factor] = {}
        for name, values in adapter[factor].items():
            begin, end = end, end + values.size
            shaped[factor][name] = vector[begin:end].reshape(values.shape).astype(np.float32)
    return shaped
