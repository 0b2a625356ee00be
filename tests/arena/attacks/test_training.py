import numpy as np
import torch

from openflock.arena.attacks.training import cut, hook_neurotoxin, hook_pgd, hook_pull


def make_parameters():
    parameters = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))]
    for each in parameters:
        each.grad = torch.ones_like(each)
    return parameters


def flatten(parameters):
    return torch.cat([each.detach().ravel() for each in parameters])


def walk(parameters, adjust, steps=20, rate=0.1):
    """Gradient descent on a slope of one everywhere."""
    for _ in range(steps):
        for each in parameters:
            each.grad = torch.ones_like(each)
        adjust(parameters)
        with torch.no_grad():
            for each in parameters:
                each -= rate * each.grad
    return flatten(parameters)


def test_a_vector_is_cut_in_the_order_of_the_parameters():
    parameters = make_parameters()
    pieces = cut(torch.arange(10.0), parameters)
    assert [tuple(piece.shape) for piece in pieces] == [(2, 3), (4,)]
    assert flatten(pieces).tolist() == list(range(10))


def test_pgd_stays_within_a_step_of_the_ball_around_its_start():
    parameters = make_parameters()
    with torch.no_grad():
        parameters[0] += 5
    start = flatten(parameters).clone()
    moved = walk(parameters, hook_pgd(0.5)) - start
    assert float(moved.norm()) <= 0.5 + 0.1 * 10**0.5 + 1e-5
    assert float(moved.norm()) > 0.5


def test_pgd_leaves_alone_what_is_in_the_ball():
    assert torch.equal(walk(make_parameters(), hook_pgd(100.0)), walk(make_parameters(), lambda parameters: None))


def test_neurotoxin_never_moves_what_honest_training_moves_most():
    moves = np.array([0.0, 9.0, 0.0, 0.0, 0.0, 0.0, -8.0, 1.0, 0.0, 0.0])
    end = walk(make_parameters(), hook_neurotoxin(moves, share=0.2))
    assert [place for place, value in enumerate(end.tolist()) if value == 0] == [1, 6]


def test_the_pull_alone_leads_to_where_the_honest_mean_leads():
    mean = np.linspace(-1, 1, 10)
    end = walk(make_parameters(), hook_pull(mean, blend=0.0), steps=200)
    assert np.allclose(end.numpy(), mean, atol=1e-3)


def test_without_the_pull_training_is_plain():
    assert torch.equal(walk(make_parameters(), hook_pull(np.ones(10), 1.0)), walk(make_parameters(), lambda _: None))
