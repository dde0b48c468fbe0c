"""Reconstruction: prunes one layer so that its outputs stay as near as possible, by least squares.

For a layer Y = X W, with the inputs X that it has now and the outputs Y0 that it had before anything was pruned, the
weights W with a given mask that minimise ||Y0 - X W||^2 are, column by column,

    w_K = (H_KK)^-1 (X^T Y0)_K,    H = X^T X + damping,

where K are the weights of the column that are kept. Of those, the one whose removal costs least, when all others make
up for it, has the smallest w_i^2 / [(H_KK)^-1]_ii. This is the saliency of Optimal Brain Surgeon (Hassibi and Stork,
1992), by which Optimal Brain Compression (Frantar and Alistarh, 2022, https://arxiv.org/abs/2208.11580) and SparseGPT
(https://arxiv.org/abs/2301.00774) prune layers. Here not one weight goes at a time but a share of those that are left;
the last round ends at exactly the number that is to be kept.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from .layer_statistics import LayerStatistics

# (scores, level) -> mask: which weights are kept at a level; arrays of the weight's shape, float32 and bool.
Select = Callable[[np.ndarray, int], np.ndarray]

SMALLEST = float(np.finfo(np.float32).smallest_normal)


@dataclasses.dataclass(frozen=True, eq=False)
class Reconstruction:
    """The least-squares problems of one weight, one for each group.

    Attributes:
        weight: The weight as it was, float64.
        statistics: Of the layer.
        with_bias: Whether a bias takes up what the means of inputs and outputs differ by.
        damping: What is added to the diagonal of the Hessian, as a fraction of its mean.
    """

    weight: np.ndarray
    statistics: LayerStatistics
    with_bias: bool
    damping: float

    def pruned(self, select: Select, levels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Prunes in rounds.

        Args:
            select: Gives the mask of a level.
            levels: One for each round.

        Returns:
            The weights, those that are kept updated, float64; and which these are, bool. Both of the weight's shape.
        """
        problems = [self._problem(group) for group in range(len(self.statistics.elements))]
        mask = np.ones(self.weight.shape, bool)
        for number, level in enumerate(levels):
            scores = np.zeros(self.weight.size)
            for hessian, target, elements in problems:
                if not number:
                    inverse = np.linalg.inv(hessian)
                    scores[elements] = np.square(inverse @ target) / np.diag(inverse)[:, None]
                    continue
                for kept, column in self._columns(mask, elements):
                    inverse = np.linalg.inv(hessian[np.ix_(kept, kept)])
                    found = inverse @ target[kept, column]
                    scores[elements[kept, column]] = np.square(found) / np.diag(inverse)
            # Kept ones rank above pruned ones, whatever their score.
            floor = mask * SMALLEST
            mask = select(np.maximum(scores.reshape(mask.shape), floor).astype(np.float32), level)
        return self.repaired(mask), mask

    def repaired(self, mask: np.ndarray) -> np.ndarray:
        """The weights with a given mask that leave the outputs as near as possible; float64 of the weight's shape."""
        values = np.zeros(self.weight.size)
        for group in range(len(self.statistics.elements)):
            hessian, target, elements = self._problem(group)
            for kept, column in self._columns(mask, elements):
                values[elements[kept, column]] = np.linalg.solve(hessian[np.ix_(kept, kept)], target[kept, column])
        return values.reshape(self.weight.shape)

    def bias_change(self, pruned: np.ndarray) -> np.ndarray:
        """What is added to the bias of the layer, so that the mean of its outputs stays; float64 [channels]."""
        found = self.statistics
        of_groups = zip(found.mean_before, found.mean, found.elements, strict=True)
        return np.concatenate(
            [
                before @ self.weight.ravel()[elements] - now @ pruned.ravel()[elements]
                for before, now, elements in of_groups
            ]
        )

    def _problem(self, group: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hessian, X^T Y0 and elements of one group."""
        found = self.statistics
        elements = found.elements[group]
        before = self.weight.ravel()[elements]
        hessian, cross = found.hessian[group].copy(), found.cross[group]
        if self.with_bias:
            hessian -= found.samples * np.outer(found.mean[group], found.mean[group])
            cross = cross - found.samples * np.outer(found.mean[group], found.mean_before[group])
        # At least something, for a layer whose inputs are all constant.
        damping = self.damping * float(np.diag(hessian).mean()) + SMALLEST
        hessian[np.diag_indices_from(hessian)] += damping
        return hessian, cross @ before + damping * before, elements

    @staticmethod
    def _columns(mask: np.ndarray, elements: np.ndarray) -> Sequence[tuple[np.ndarray, int]]:
        """For each column that keeps weights, which inputs they are for."""
        kept = mask.ravel()[elements]
        return [(np.flatnonzero(kept[:, column]), column) for column in np.flatnonzero(kept.any(axis=0))]


def multiply_adds_of_round(statistics: LayerStatistics, density: float) -> float:
    """About how many multiply-adds a round takes in which that fraction of the weights is left."""
    groups, inputs, outputs = statistics.elements.shape
    return 2.0 * groups * outputs * (density * inputs) ** 3
