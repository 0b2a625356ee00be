import numpy as np
from hypothesis import given, settings
from hypothesis.extra import numpy as npst

from openflock.update import gram
from openflock.update.gram import compute_gram

from .examples import entries


@given(npst.arrays(np.int32, npst.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=entries))
@settings(deadline=None)
def test_gram_agrees_with_python_integers(rows):
    exact = rows.astype(object)
    assert (compute_gram(rows) == exact @ exact.T).all()


def test_gram_is_exact_where_sums_are_largest():
    assert gram._COLUMNS * (2**16 - 1) ** 2 < 2**53
    n = gram._COLUMNS + 3  # more than one block, every limb at its extreme
    for value in (2**31 - 1, -(2**31), -1, 0xFFFF, -(2**31) + 0xFFFF):
        rows = np.full((1, n), value, np.int64)
        assert compute_gram(rows).tolist() == [[value * value * n]]
