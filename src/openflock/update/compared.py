"""What updates are compared by, where it is not what each does by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Compared:
    """What each two updates are compared by: (K, K) Python integers in one unit.

    `products[i, j]` is the inner product of what i and j are compared by, `squares[i, j]` the squared norm of i's part
    in it. Diagonals do not matter.
    """

    squares: NDArray[np.object_]
    products: NDArray[np.object_]

    def build_products(self, factors: Sequence[int]) -> NDArray[np.object_]:
        """Build inner products that have these distances, each update cut by its factor.

        Any matrix has the distances that half of them, negative, has as products. Those of more than two need not be of
        points anywhere, since each two may be compared by something else.
        """
        scales = np.array(factors, object)
        parts = scales[:, None] ** 2 * self.squares
        products: NDArray[np.object_] = 2 * scales[:, None] * self.products * scales - parts - parts.T
        np.fill_diagonal(products, 0)
        return products
