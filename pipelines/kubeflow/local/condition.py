"""holds: the conditions of tasks, in the part of CEL that TFX's compiler writes."""

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

_TOKEN = re.compile(r"""'[^'\\]*'|"[^"\\]*"|!=|&&|\|\||!|[^'"&|!]+|.""", re.DOTALL)
_PYTHON = {"&&": " and ", "||": " or ", "!": " not "}
_WORDS = {"true": True, "false": False}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def holds(condition: str, executor_input: dict[str, Any]) -> bool:
    """Whether a task's condition holds.

    Args:
        condition: Comparisons of fields of the ExecutorInput with numbers and strings, with `&&`, `||`, `!`, `+` of
            strings, and brackets: `(inputs.artifacts['blessing'].artifacts[0].metadata['blessed'] == 1.0)`.
        executor_input: ExecutorInput as JSON; conditions may read `inputs.artifacts` and `inputs.parameterValues`.

    Raises:
        ValueError: The condition has another form, reads a field that is not there, compares values of different types
            (which CEL refuses), or is neither true nor false.
    """
    inputs = executor_input.get("inputs", {})
    names = {
        "inputs": {"artifacts": inputs.get("artifacts", {}), "parameter_values": inputs.get("parameterValues", {})}
    }
    try:
        python = "".join(_PYTHON.get(token, token) for token in _TOKEN.findall(condition))
        value = _value(ast.parse(python.strip(), mode="eval").body, names)
    except (SyntaxError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"The condition {condition!r} cannot be decided: {error}.") from error
    if not isinstance(value, bool):
        raise ValueError(f"The condition {condition!r} is {value!r}, neither true nor false.")
    return value


def _value(node: ast.expr, names: dict[str, Any]) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as constant):
            return float(constant) if type(constant) is int else constant
        case ast.Name(id=name):
            return _WORDS[name] if name in _WORDS else names[name]
        case ast.Attribute(value=of, attr=field):
            return _value(of, names)[field]
        case ast.Subscript(value=of, slice=ast.Constant(value=key)):
            return _value(of, names)[key]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _boolean(operand, names)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_boolean(value, names) for value in values)
        case ast.BoolOp(op=ast.Or(), values=values):
            return any(_boolean(value, names) for value in values)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _value(left, names) + _value(right, names)
        case ast.Compare(left=left, ops=[operation], comparators=[right]) if type(operation) in _COMPARISONS:
            return _compare(_COMPARISONS[type(operation)], _value(left, names), _value(right, names))
    raise ValueError(f"{ast.unparse(node)!r} is not supported")


def _boolean(node: ast.expr, names: dict[str, Any]) -> bool:
    value = _value(node, names)
    if not isinstance(value, bool):
        raise TypeError(f"{ast.unparse(node)} is {value!r}, neither true nor false")
    return value


def _compare(compare: Callable[[Any, Any], bool], left: Any, right: Any) -> bool:
    if _kind(left) is not _kind(right):
        raise TypeError(f"{left!r} and {right!r} are of different types")
    return compare(left, right)


def _kind(value: Any) -> type:
    return float if type(value) is int else type(value)
