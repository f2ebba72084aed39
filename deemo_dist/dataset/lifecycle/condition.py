"""Conditions on index rows, such as ``fps >= 24 and source == 'x'``: parsed by Python's grammar, never executed.

Known are comparisons, ``in``, ``and``, ``or``, ``not``, numbers, strings, True and False, and the names below;
``subgroup.NAME`` and ``attestation.NAME`` reach into their tables. Keys are not among them: a condition is kept with
the version that it made, and a person's key must not stand there once the person is gone.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

from deemo_dist.errors import ConfigError
from deemo_dist.records import IndexRow

LONGEST = 2000
NUMBERS = ("frames", "fps", "width", "height", "audio_seconds", "characters", "cue_frames", "seconds")
WORDS = ("source", "split")
ATTESTED_WORDS = ("policy", "strength", "faces", "voice", "transcript", "captions", "audit_detector")
ATTESTED_NUMBERS = (
    *("frames", "frames_with_face", "masked_area", "pii_entities", "audited_frames", "residual_face_rate"),
)
KNOWN = ", ".join((*NUMBERS, *WORDS, "subgroup.NAME", "attestation.NAME"))
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
Value = Callable[[IndexRow], Any]
Condition = Callable[[IndexRow], bool]


def parse_condition(text: str) -> Condition:
    """A condition as a function of an index row. What a row does not have compares as unequal to everything.

    Raises ``ConfigError`` that says what is not understood.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"the condition has {len(text)} characters", hint=f"{LONGEST} at most")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        return _truth(tree.body)
    except (SyntaxError, ValueError) as error:
        hint = "such as: fps >= 24 and split == 'train'"
        raise ConfigError(f"'{text}' is no condition: {error.args[0]}", hint=hint) from None
    except (RecursionError, MemoryError):
        raise ConfigError("the condition is nested too deeply", hint="say it more simply") from None


def _truth(node: ast.expr) -> Condition:
    """A node that is true or false."""
    if isinstance(node, ast.BoolOp):
        parts = [_truth(value) for value in node.values]
        every = all if isinstance(node.op, ast.And) else any
        return lambda row: every(part(row) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _truth(node.operand)
        return lambda row: not inner(row)
    if isinstance(node, ast.Compare):
        return _chain(node)
    raise _unknown(node, "a comparison is wanted")


def _chain(node: ast.Compare) -> Condition:
    """``a < b <= c``: every neighbouring pair."""
    sides = [node.left, *node.comparators]
    pairs = [_pair(left, op, right) for left, op, right in zip(sides, node.ops, sides[1:], strict=False)]
    return lambda row: all(pair(row) for pair in pairs)


def _pair(left: ast.expr, op: ast.cmpop, right: ast.expr) -> Condition:
    if isinstance(op, ast.In | ast.NotIn):
        return _among(left, right, wanted=isinstance(op, ast.In))
    if type(op) not in _COMPARE:
        raise _unknown(left, "'is' is not known here")
    (kind, one), (other, two) = _value(left), _value(right)
    if kind is not other:
        raise ConfigError(
            f"'{ast.unparse(left)}' and '{ast.unparse(right)}' are not of one kind", hint="quote words, not numbers"
        )
    test, unequal = _COMPARE[type(op)], isinstance(op, ast.NotEq)

    def holds(row: IndexRow) -> bool:
        a, b = one(row), two(row)
        return unequal if a is None or b is None else test(a, b)

    return holds


def _among(left: ast.expr, right: ast.expr, *, wanted: bool) -> Condition:
    if not isinstance(right, ast.List | ast.Tuple | ast.Set):
        raise _unknown(right, "after 'in' stands a list, such as ('a', 'b')")
    kind, value = _value(left)
    known = [_constant(item) for item in right.elts]
    if any(_kind(item) is not kind for item in known):
        raise ConfigError(f"'{ast.unparse(right)}' holds what '{ast.unparse(left)}' cannot be")
    return lambda row: (value(row) in known) is wanted


def _value(node: ast.expr) -> tuple[type, Value]:
    """The kind (``str`` or ``float``) of what a node stands for, and how a row gives it."""
    if isinstance(node, ast.Name) and node.id in (*NUMBERS, *WORDS):
        name = node.id
        if name == "seconds":
            return float, lambda row: row.frames / row.fps if row.fps else 0.0
        return (str if name in WORDS else float), lambda row: getattr(row, name)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return _inner(node, node.value.id, node.attr)
    constant = _constant(node)
    return _kind(constant), lambda row: constant


def _inner(node: ast.expr, table: str, name: str) -> tuple[type, Value]:
    if table == "subgroup":
        return str, lambda row: row.subgroup.get(name)
    if table == "attestation" and name in ATTESTED_WORDS:
        return str, lambda row: getattr(row.attestation, name)
    if table == "attestation" and name in ATTESTED_NUMBERS:
        return float, lambda row: getattr(row.attestation, name)
    if table == "attestation" and name != "key_id" and name != "policy_digest":
        return float, lambda row: row.attestation.figures.get(name)
    raise _unknown(node, f"known: {KNOWN}")


def _constant(node: ast.expr) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _constant(node.operand)
        if _kind(inner) is float:
            return -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
        return node.value
    raise _unknown(node, f"known: {KNOWN}")


def _kind(value: Any) -> type:
    return str if isinstance(value, str) else float


def _unknown(node: ast.expr, hint: str) -> ConfigError:
    return ConfigError(f"'{ast.unparse(node)[:60]}' is not understood in a condition", hint=hint)
