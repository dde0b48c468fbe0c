"""The rules for operations. A module registers those for operations of one kind."""

from . import (  # noqa: F401
    contraction,
    convolution,
    elementwise,
    joining,
    layout,
    lists,
    lookup,
    normalization,
    reading,
    reduction,
    reshape,
    sizes,
    slicing,
    spatial,
    tiling,
)
