"""Matrix products and their like."""

import dataclasses

from ..operation import Operation, operation
from ..products import Term, check_known, sum_of_products
from ..site import Gather
from ..tensors import Tensor
from ..values import Known


@operation("MatMul")
def mat_mul(op: Operation) -> Tensor:
    """A product of two matrices."""
    one, other = op.inputs
    check_known(one.rank == other.rank == 2)
    left, right = ("i", "k"), ("k", "j")
    if op.attribute("transpose_a"):
        left = left[::-1]
    if op.attribute("transpose_b"):
        right = right[::-1]
    if op.may_gather and left == ("i", "k") and isinstance(other.value, Known):
        # The weights are cut by themselves, and what they are multiplied with is given with their indices.
        units = other.axes[right.index("k")]
        if units is not None:
            op.gathers.append(Gather(op.node.name, 0, 1, units))
            one = dataclasses.replace(one, axes=(one.axes[0], units))
    return sum_of_products(op, Term(one, left), Term(other, right), ("i", "j"))


@operation("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def batch_mat_mul(op: Operation) -> Tensor:
    """Products of matrices, which stand along the axes before the last two."""
    one, other = op.inputs
    check_known(one.rank is not None and other.rank is not None)
    if op.node.op == "BatchMatMulV3":
        check_known(op.attribute("Ta") == op.attribute("Tb") == op.attribute("Tout"))
    rank = len(op.shapes[0])
    batch = [f"b{at}" for at in range(rank - 2)]
    left, right = ("i", "k"), ("k", "j")
    if op.attribute("adj_x"):
        left = left[::-1]
    if op.attribute("adj_y"):
        right = right[::-1]
    return sum_of_products(
        op,
        Term(one, (*batch[rank - one.rank :], *left)),
        Term(other, (*batch[rank - other.rank :], *right)),
        (*batch, "i", "j"),
    )


@operation("Einsum")
def einsum(op: Operation) -> Tensor:
    """A sum of products of two factors in Einstein's notation."""
    check_known(len(op.inputs) == 2)
    inputs, _, output = op.attribute("equation").replace(" ", "").partition("->")
    terms = [
        Term(tensor, _labels(text, tensor.rank)) for text, tensor in zip(inputs.split(","), op.inputs, strict=True)
    ]
    labels = _labels(output, len(op.shapes[0]))
    for each in (*(term.labels for term in terms), labels):
        # A label twice is a diagonal.
        check_known(len(set(each)) == len(each))
    return sum_of_products(op, *terms, labels)


def _labels(text: str, rank: int | None) -> tuple[str, ...]:
    check_known(rank is not None)
    before, dots, after = text.partition("...")
    count = rank - len(before) - len(after)
    check_known(count == 0 or (bool(dots) and count > 0))
    # Counted from the last, as they are aligned so.
    return (*before, *(f".{count - at}" for at in range(count)), *after)
