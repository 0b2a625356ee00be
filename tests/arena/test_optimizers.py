"""Each optimizer against a transcription of its paper, number by number, with the paper's names and lines."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import openflock
from openflock.arena.optimizers import (
    OPTIMIZERS,
    Arrivals,
    ServerSettings,
    compute_controlled,
    compute_own_control,
    compute_proximal,
    flatten,
    hook_control,
    hook_proximal,
    shape_like,
    start_server,
    step_scaffold,
)
from openflock.learn.base import load_base
from openflock.learn.baselines import read_adapter, train_plain
from openflock.learn.data import parse_row
from openflock.learn.model import Model
from openflock.learn.skills import generate_rows
from openflock.learn.train import TrainSettings
from openflock.update.fixed import initial_state

ROUNDS = 6
SIZE = 5


@pytest.fixture(scope="module")
def model():
    return Model(load_base(Path(openflock.__file__).parent / "assets/base"))


def draw_rounds(seed, clients=4):
    draw = np.random.default_rng(seed)
    return [
        Arrivals(0.1 * draw.normal(size=(clients, SIZE)), draw.integers(1, 50, clients).astype(float))
        for _ in range(ROUNDS)
    ]


def run(name, rounds, given_settings, start):
    server = start_server(start, given_settings)
    for arrivals in rounds:
        server = OPTIMIZERS[name](server, arrivals, given_settings)
    return server


seeds = st.integers(0, 9999)
start = np.linspace(-1, 1, SIZE)


# Servers


def average_by_rows(arrivals, j):
    n = sum(arrivals.rows)
    return sum(n_k / n * delta[j] for n_k, delta in zip(arrivals.rows, arrivals.deltas, strict=True))


@given(seeds)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("name", ["fedavg", "fedprox"])
def test_fedavg(name, seed):
    """McMahan et al. 2017, Algorithm 1, server: w_{t+1} = sum_k n_k / n w_{t+1}^k; FedProx, Algorithm 2, the same."""
    rounds = draw_rounds(seed)
    w = list(start)
    for arrivals in rounds:
        n = sum(arrivals.rows)
        clients = [[w[j] + delta[j] for j in range(SIZE)] for delta in arrivals.deltas]
        w = [sum(n_k / n * w_k[j] for n_k, w_k in zip(arrivals.rows, clients, strict=True)) for j in range(SIZE)]
    assert run(name, rounds, ServerSettings(), start).values == pytest.approx(w, abs=1e-6)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_fedavgm(seed):
    """Hsu et al. 2019, 4.3: v = beta v + Delta w, w = w - v, where Delta w = sum_k n_k / n (w - w^k)."""
    rounds, beta = draw_rounds(seed), 0.9
    w, v = list(start), [0.0] * SIZE
    for arrivals in rounds:
        v = [beta * v[j] + -average_by_rows(arrivals, j) for j in range(SIZE)]
        w = [w[j] - v[j] for j in range(SIZE)]
    assert run("fedavgm", rounds, ServerSettings(momentum=beta), start).values == pytest.approx(w, abs=1e-6)


@given(seeds)
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize(("name", "beta_1"), [("fedadagrad", 0.0), ("fedyogi", 0.9), ("fedadam", 0.9)])
def test_the_adaptive_ones(name, beta_1, seed):
    """Reddi et al. 2021, Algorithm 2, lines 11 to 16; FedAdagrad runs with beta_1 = 0 (section 5)."""
    rounds, beta_2, eta, tau = draw_rounds(seed), 0.99, 0.05, 1e-3
    x, m, v = list(start), [0.0] * SIZE, [tau**2] * SIZE
    for arrivals in rounds:
        for j in range(SIZE):
            Delta = sum(delta[j] for delta in arrivals.deltas) / len(arrivals.deltas)
            m[j] = beta_1 * m[j] + (1 - beta_1) * Delta
            if name == "fedadagrad":
                v[j] = v[j] + Delta**2
            elif name == "fedyogi":
                v[j] = v[j] - (1 - beta_2) * Delta**2 * math.copysign(1, v[j] - Delta**2)
            else:
                v[j] = beta_2 * v[j] + (1 - beta_2) * Delta**2
            x[j] = x[j] + eta * m[j] / (math.sqrt(v[j]) + tau)
    server = run(name, rounds, ServerSettings(rate=eta, decay=beta_2, adaptivity=tau), start)
    assert server.values == pytest.approx(x, abs=1e-6)
    assert server.variance == pytest.approx(v, abs=1e-6)


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_scaffold(seed):
    """Karimireddy et al. 2020, Algorithm 1 and (3) to (5), plain SGD on quadratics; two of four clients a round."""
    draw = np.random.default_rng(seed)
    N, K, eta_l, eta_g = 4, 3, 0.05, 0.8
    centres = draw.normal(size=(N, SIZE))
    # by hand
    x, c = list(start), [0.0] * SIZE
    c_i = [[0.0] * SIZE for _ in range(N)]
    # by our functions
    server, own = start_server(start, ServerSettings()), np.zeros((N, SIZE))
    for t in range(ROUNDS):
        S = [t % N, (t + 1) % N]
        deltas, changes = [], []
        sums = [[0.0] * SIZE, [0.0] * SIZE]
        for i in S:
            y, values = list(x), server.values
            for _ in range(K):
                g = [y[j] - centres[i][j] for j in range(SIZE)]
                y = [y[j] - eta_l * (g[j] - c_i[i][j] + c[j]) for j in range(SIZE)]  # (3)
                values = values - eta_l * compute_controlled(values - centres[i], server.control, own[i])
            c_plus = [c_i[i][j] - c[j] + (x[j] - y[j]) / (K * eta_l) for j in range(SIZE)]  # (4), option II
            new = compute_own_control(server.values, values, server.control, own[i], K, eta_l)
            deltas.append(values - server.values)
            changes.append(new - own[i])
            own[i] = new
            sums = [
                [sums[0][j] + y[j] - x[j] for j in range(SIZE)],
                [sums[1][j] + c_plus[j] - c_i[i][j] for j in range(SIZE)],
            ]
            c_i[i] = c_plus
        x = [x[j] + eta_g / len(S) * sums[0][j] for j in range(SIZE)]  # (5)
        c = [c[j] + sums[1][j] / N for j in range(SIZE)]
        arrivals = Arrivals(np.array(deltas), np.ones(2), np.array(changes), N)
        server = step_scaffold(server, arrivals, ServerSettings(server_rate=eta_g))
    assert server.values == pytest.approx(x, abs=1e-6)
    assert server.control == pytest.approx(c, abs=1e-6)
    assert own.tolist() == pytest.approx(np.array(c_i), abs=1e-6)


def test_scaffold_needs_the_controls():
    server, arrivals = start_server(start, ServerSettings()), draw_rounds(1)[0]
    with pytest.raises(ValueError, match="needs the clients' controls"):
        step_scaffold(server, arrivals, ServerSettings())


def test_the_seven_are_there():
    assert set(OPTIMIZERS) == {"fedavg", "fedprox", "scaffold", "fedavgm", "fedadagrad", "fedyogi", "fedadam"}


# Clients


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_fedprox(seed):
    """Li et al. 2020, (2): h_k(w; w^t) = F_k(w) + mu / 2 |w - w^t|^2; its gradient by differences."""
    draw = np.random.default_rng(seed)
    w, w_t, centre, mu, step = draw.normal(size=SIZE), draw.normal(size=SIZE), draw.normal(size=SIZE), 0.3, 1e-5

    def h(w):
        F = 0.5 * sum((w - centre) ** 2)
        return F + mu / 2 * sum((w - w_t) ** 2)

    slopes = [(h(w + step * e) - h(w - step * e)) / (2 * step) for e in np.eye(SIZE)]
    assert compute_proximal(w - centre, w, w_t, mu) == pytest.approx(slopes, abs=1e-6)


def make_parameters():
    draw = np.random.default_rng(4)
    parameters = [torch.nn.Parameter(torch.from_numpy(draw.normal(size=shape))) for shape in ((2, 3), (4,))]
    for parameter in parameters:
        parameter.grad = torch.from_numpy(draw.normal(size=parameter.shape))
    return parameters


def lay(tensors):
    return np.concatenate([tensor.detach().numpy().ravel() for tensor in tensors])


def test_the_hooks_do_what_the_functions_say():
    draw = np.random.default_rng(5)
    first, second = draw.normal(size=10), draw.normal(size=10)
    parameters = make_parameters()
    values, gradient = lay(parameters), lay([p.grad for p in parameters])
    hook_proximal(first, mu=0.3)(parameters)
    assert lay([p.grad for p in parameters]) == pytest.approx(compute_proximal(gradient, values, first, 0.3))
    assert (lay(parameters) == values).all()
    parameters = make_parameters()
    hook_control(first, second, rate=0.1)(parameters)
    torch.optim.SGD(parameters, lr=0.1).step()
    assert lay(parameters) == pytest.approx(values - 0.1 * compute_controlled(gradient, first, second))
    with pytest.raises(ValueError, match="9 numbers for parameters of 10"):
        hook_proximal(first[:9])(parameters)


def test_controls_take_out_what_different_data_do_to_an_average():
    # Clients with other minima and other curvatures: averaging rounds of many steps ends elsewhere than their sum.
    curvatures, centres = np.array([[1.0], [6.0]]), np.array([[0.0], [1.0]])
    truth = (curvatures * centres).sum(axis=0) / curvatures.sum(axis=0)
    ends = {}
    for name in ("fedavg", "scaffold"):
        server, own = start_server(np.zeros(1), ServerSettings()), np.zeros((2, 1))
        for _ in range(60):
            deltas, changes = [], []
            for i in range(2):
                values = server.values
                for _ in range(10):
                    gradient = curvatures[i] * (values - centres[i])
                    if name == "scaffold":
                        gradient = compute_controlled(gradient, server.control, own[i])
                    values = values - 0.1 * gradient
                new = compute_own_control(server.values, values, server.control, own[i], 10, 0.1)
                deltas.append(values - server.values)
                changes.append(new - own[i])
                own[i] = new
            server = OPTIMIZERS[name](
                server, Arrivals(np.array(deltas), np.ones(2), np.array(changes), 2), ServerSettings()
            )
        ends[name] = abs(server.values - truth)[0]
    assert ends["scaffold"] < 1e-6 < 0.05 < ends["fedavg"]


# On a model


def test_a_flat_vector_goes_round_an_adapter_and_holds_a_client_near_its_start(model):
    rows = [parse_row(row, "x") for row in generate_rows("reverse", 16, 1)]
    adapter = read_adapter(initial_state(model.layout, b"optimizers"))
    vector = flatten(adapter)
    again = shape_like(vector, adapter)
    assert all((again[f][name] == values).all() for f in ("A", "B") for name, values in adapter[f].items())
    short = TrainSettings(steps=3, batch_size=4)

    def go(adjust=None):
        return flatten(train_plain(model, adapter, rows, short, 1, adjust)) - vector

    plain = go()
    assert (go(hook_control(vector, vector, short.learning_rate)) == plain).all()
    assert np.linalg.norm(go(hook_proximal(vector, mu=1e4))) < 0.8 * np.linalg.norm(plain)
    pulled = go(hook_control(np.ones_like(vector), np.zeros_like(vector), short.learning_rate))
    assert pulled.mean() == pytest.approx(plain.mean() - 3 * short.learning_rate, abs=short.learning_rate)
