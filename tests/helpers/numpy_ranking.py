"""Ranking as it is defined, in a few lines of NumPy: what masks must be, bit for bit."""

import numpy as np


def top_k(scores: np.ndarray, k: int, seed: tuple[int, int]) -> tuple[np.ndarray, np.float32]:
    """The mask of the k largest of flat scores, bool, and the k-th largest; ties by the largest random number.

    NaN and negative scores count as zero.
    """
    positions = np.arange(scores.size, dtype=np.uint32)
    order = np.lexsort((~_numbers(positions, seed), -_ranked(scores)))
    mask = np.zeros(scores.size, bool)
    mask[order[:k]] = True
    return mask, np.float32(_ranked(scores)[order[k - 1]] if k else np.inf)


def best_of_runs(
    scores: np.ndarray, axis: int, length: int, kept: int, seed: tuple[int, int]
) -> tuple[np.ndarray, np.float32]:
    """The mask of the `kept` largest scores of each run of `length` along an axis, bool, and the lowest kept."""
    outer, row = np.prod(scores.shape[:axis], dtype=int), scores.shape[axis]
    inner = np.prod(scores.shape[axis:][1:], dtype=int)
    padding = -row % length
    padded = np.pad(_ranked(scores).reshape(outer, row, inner), [(0, 0), (0, padding), (0, 0)], constant_values=-1)
    runs = padded.reshape(outer, -1, length, inner)
    numbers = _numbers(np.arange(runs.size, dtype=np.uint32), seed).view(np.int32).reshape(runs.shape)
    lots = (numbers << length.bit_length()) | np.arange(length, dtype=np.int32)[:, None]
    order = np.lexsort((-lots.astype(np.int64), -runs), axis=2)
    mask = np.zeros(runs.shape, bool)
    np.put_along_axis(mask, order[:, :, :kept], True, axis=2)
    mask = mask.reshape(outer, -1, inner)[:, :row].reshape(scores.shape)
    return mask, np.float32(_ranked(scores)[mask].min())


def _ranked(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    return np.where(scores > 0, scores, 0.0)


def _numbers(positions: np.ndarray, seed: tuple[int, int]) -> np.ndarray:
    first, second, third, fourth = np.array(seed, np.int64).view(np.uint32)[:, None]
    early = _mixed(_mixed(first) + second)
    late = _mixed(_mixed(early + third) + fourth)
    return _mixed(_mixed(positions + early) + late)


def _mixed(words: np.ndarray) -> np.ndarray:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        words = (words ^ (words >> np.uint32(shift))) * np.uint32(factor)
    return words
