import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.arena.peers import average_separately, average_svd, compute_error


def make_adapters(seed, count, rank=3, same=None):
    """Random adapters of two modules; `same` names the side, 0 for A or 1 for B, that all share."""
    draw = np.random.default_rng(seed)
    shapes = {"a.q": (5, 7), "b.k": (4, 6)}
    shared = {name: (draw.normal(size=(rank, n)), draw.normal(size=(m, rank))) for name, (m, n) in shapes.items()}
    return [
        {
            name: tuple(
                shared[name][side] if side == same else draw.normal(size=shared[name][side].shape) for side in (0, 1)
            )
            for name in shapes
        }
        for _ in range(count)
    ]


def average_products(adapters, shares, name):
    return sum(share * each[name][1] @ each[name][0] for share, each in zip(shares, adapters, strict=True))


@given(st.integers(0, 999), st.sampled_from([0, 1]))
def test_averaging_separately_is_exact_only_where_one_factor_is_common(seed, same):
    shares = [0.5, 0.3, 0.2]
    common = make_adapters(seed, 3, same=same)
    assert compute_error(average_separately(common, shares), common, shares) < 1e-12
    apart = make_adapters(seed, 3)
    assert compute_error(average_separately(apart, shares), apart, shares) > 0.05


@given(st.integers(0, 999))
def test_its_error_is_the_covariance_of_the_factors(seed):
    shares, adapters = [0.25] * 4, make_adapters(seed, 4)
    merged = average_separately(adapters, shares)
    for name, (A, B) in merged.items():
        covariance = sum(
            s * (each[name][1] - B) @ (each[name][0] - A) for s, each in zip(shares, adapters, strict=True)
        )
        assert np.allclose(average_products(adapters, shares, name) - B @ A, covariance)


@given(st.integers(0, 999), st.integers(1, 4))
def test_svd_is_the_best_of_its_rank(seed, rank):
    shares, adapters = [0.6, 0.4], make_adapters(seed, 2)
    for name, (A, B) in average_svd(adapters, shares, rank).items():
        truth = average_products(adapters, shares, name)
        sigma = np.linalg.svd(truth, compute_uv=False)
        assert A.shape[0] == rank
        assert np.linalg.norm(truth - B @ A) == pytest.approx(np.sqrt((sigma[rank:] ** 2).sum()), abs=1e-9)


def test_svd_loses_nothing_within_the_rank():
    adapters = make_adapters(1, 1)
    assert compute_error(average_svd(adapters, [1.0], 3), adapters, [1.0]) < 1e-12
