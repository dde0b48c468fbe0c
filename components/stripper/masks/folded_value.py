"""FoldedValue: the value of a weight that takes in its mask."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class FoldedValue:
    """The product of a weight and its mask.

    Attributes:
        product: The value, bit for bit as the model computes it: -0.0 where a negative weight is pruned, NaN where one
            that is not finite is.
        positive: The same, with +0.0 for -0.0 where the weight is pruned, so that it compresses; it equals `product`.
    """

    product: np.ndarray
    positive: np.ndarray

    @property
    def sign_differs(self) -> bool:
        """Whether `product` and `positive` differ, which they do in signs of zeros only."""
        return self.product.tobytes() != self.positive.tobytes()
