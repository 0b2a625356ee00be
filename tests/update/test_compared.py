from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openflock.protocol.recipe import Recipe
from openflock.update.compared import Compared
from openflock.update.robust import compute_plan

ONE = 2**16  # a clip's factor of one
numbers = st.integers(-(2**60), 2**60)


@given(st.lists(st.tuples(numbers, numbers, st.integers(0, ONE)), min_size=2, max_size=5))
def test_what_is_built_has_the_distances_of_what_was_cut(points):
    """On a line, where each two are compared by something of their own: the second's number is moved by its place."""
    count = len(points)
    squares, products = (np.zeros((count, count), object) for _ in range(2))
    wanted = {}
    for one, other in combinations(range(count), 2):
        mine, yours = points[one][0], points[other][1] + one
        squares[one, other], squares[other, one] = mine**2, yours**2
        products[one, other] = products[other, one] = mine * yours
        wanted[one, other] = (points[one][2] * mine - points[other][2] * yours) ** 2
    built = Compared(squares, products).build_products([factor for *_, factor in points])
    assert (built == built.T).all()
    for (one, other), apart in wanted.items():
        assert built[one, one] + built[other, other] - 2 * built[one, other] == 2 * apart


@pytest.mark.parametrize("mixing", [False, True])
@pytest.mark.parametrize("aggregator", ["geometric_median", "krum", "multi_krum"])
def test_a_merge_is_planned_where_no_points_have_such_distances(aggregator, mixing):
    """The first and the last lie ten times as far apart as by way of the middle one."""
    apart = np.array([[0, 1, 400], [1, 0, 1], [400, 1, 0]], object)
    compared = Compared(apart, np.zeros((3, 3), object))
    recipe = Recipe(aggregator=aggregator, mixing=mixing, faulty=300)
    plan = compute_plan(recipe, [1] * 3, np.eye(3, dtype=object), [b"a", b"b", b"c"], compared)
    [row] = plan.rows
    assert min(row) >= 0
    assert 0 < sum(row) <= plan.divisor
