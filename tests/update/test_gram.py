import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from openflock.update.gram import multiply_exact

from .examples import entries

COLUMNS = 2**16  # multiplied at once
numbers = st.one_of(entries, st.just(-(2**31)), st.sampled_from([2**16, 2**16 - 1, 2**26, 2**25 + 1]))


@given(st.data(), *[st.integers(1, 6)] * 3)
def test_products_agree_with_python_integers(data, k, m, n):
    left, right = (data.draw(npst.arrays(np.int32, (rows, n), elements=numbers)) for rows in (k, m))
    product = multiply_exact(left, right)
    assert (product == left.astype(object) @ right.astype(object).T).all()
    assert {type(each) for each in product.flat} == {int}


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float64])
@pytest.mark.parametrize("value", [2**31 - 1, -(2**31), -1, 0xFFFF, -(2**31) + 0xFFFF, 2**25 - 1])
@pytest.mark.parametrize("n", [1, COLUMNS - 1, COLUMNS + 3])
def test_products_are_exact_where_sums_are_largest(kind, value, n):
    rows, one = np.full((1, n), value, kind), np.full((1, n), 2**31 - 1, kind)
    assert multiply_exact(rows, rows).tolist() == [[value * value * n]]
    assert multiply_exact(rows, one).tolist() == multiply_exact(one, rows).tolist() == [[value * (2**31 - 1) * n]]


@pytest.mark.parametrize("bits", range(15, 26))
def test_sums_are_exact_where_what_one_product_holds_gets_narrower_and_ends(bits):
    # Odd sums beyond 2**53 are the first integers that float64 lacks.
    rows = np.full((1, COLUMNS - 1), 2**bits - 1)
    assert multiply_exact(rows, rows).tolist() == [[(2**bits - 1) ** 2 * (COLUMNS - 1)]]


def test_rows_of_different_sizes_are_exact():
    rows = np.array([[1] * 9, [2**31 - 1] * 9])
    assert multiply_exact(rows, rows[:1]).tolist() == [[9], [9 * (2**31 - 1)]]
    assert multiply_exact(rows[:0], rows).shape == (0, 2)


def test_no_columns_sum_to_zero():
    assert multiply_exact(np.zeros((2, 0)), np.zeros((3, 0))).tolist() == [[0] * 3] * 2
