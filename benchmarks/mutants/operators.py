"""Small faults that can be put into a file, one at a time: places found in its syntax tree, changed in its text."""

import ast
import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Change = tuple[str, str]
"""What a fault is called, and the source text that takes the place of a node's."""

Node = TypeVar("Node", bound=ast.AST)

PAIRS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
COMPARED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
TWINS = ("min max", "minimum maximum", "argmin argmax", "floor ceil", "any all", "fmin fmax", "nanmin nanmax")
OTHER_NAME = {name: other for pair in map(str.split, TWINS) for name, other in (pair, pair[::-1])}
COPIES = ("copy", "deepcopy", "asarray", "array", "ascontiguousarray")
CLIPS = ("clip", "maximum", "minimum")


@dataclass(frozen=True)
class Mutant:
    """One fault in one place.

    Parameters
    ----------
    path
        File, relative to the root of the project.
    line
        Line of the place, from 1.
    start, end
        Bytes of the file that are replaced.
    operator
        Kind of fault.
    before, after
        Text that is replaced, and what takes its place.
    """

    path: str
    line: int
    start: int
    end: int
    operator: str
    before: str
    after: str

    def apply(self, content: bytes) -> bytes:
        """Content of the file with the fault in it."""
        return content[: self.start] + self.after.encode() + content[self.end :]

    def compiles(self, content: bytes) -> bool:
        """Whether it is a fault that only tests can notice."""
        try:
            compile(self.apply(content), "mutant", "exec")
        except SyntaxError:
            return False
        return True


def mutants_of(path: str, content: bytes) -> list[Mutant]:
    """All faults that can be put into a Python file; a few of them do not compile."""
    offsets = [0]
    for line in content.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    mutants = {}
    for node in _nodes(ast.parse(content)):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start, end = offsets[node.lineno - 1] + node.col_offset, offsets[node.end_lineno - 1] + node.end_col_offset
        before = content[start:end].decode()
        for operator, after in _changes(node):
            one = Mutant(path, node.lineno, start, end, operator, before, after)
            if after != before:
                mutants[start, end, after] = one
    return list(mutants.values())


def _nodes(tree: ast.AST) -> Iterator[ast.expr | ast.stmt]:
    """Statements and expressions that are executed: no annotations, docstrings, messages or imports for types."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom) or _is_text(node) or _is_for_types(node):
            continue
        if isinstance(node, ast.expr | ast.stmt):
            yield node
        skipped = {id(getattr(node, name, None)) for name in ("annotation", "returns")}
        if isinstance(node, ast.Raise):  # what a message says is no behaviour; whether it is raised is
            continue
        kept = [child for child in ast.iter_child_nodes(node) if id(child) not in skipped]
        yield from _nodes(ast.Module(body=kept, type_ignores=[]))  # type: ignore[arg-type]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _changes(node: ast.expr | ast.stmt) -> Iterator[Change]:
    for operator in OPERATORS:
        yield from operator(node)


def _expression(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


def _with(node: ast.expr, **fields: object) -> str:
    """Text of an expression with other fields."""
    return _expression(_other(node, **fields))


def _other(node: Node, **fields: object) -> Node:
    """Copy of a node with other fields."""
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def arithmetic(node: ast.AST) -> Iterator[Change]:
    """``+`` for ``-``, ``*`` for ``/``, a sign or one side of a sum or product lost."""
    if isinstance(node, ast.BinOp) and type(node.op) in PAIRS:
        yield "arithmetic", _with(node, op=PAIRS[type(node.op)]())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield "arithmetic", _expression(node.operand)
    if isinstance(node, ast.AugAssign) and type(node.op) in PAIRS:
        other = ast.AugAssign(node.target, PAIRS[type(node.op)](), node.value)  # type: ignore[arg-type]
        yield "arithmetic", ast.unparse(other)


def comparison(node: ast.AST) -> Iterator[Change]:
    """``<`` for ``<=`` or ``>``, ``==`` for ``!=``."""
    if isinstance(node, ast.Compare):
        for index, op in enumerate(node.ops):
            for other in COMPARED[type(op)]:
                yield "comparison", _with(node, ops=[*node.ops[:index], other(), *node.ops[index + 1 :]])


def off_by_one(node: ast.AST) -> Iterator[Change]:
    """An index, an end of a slice or an argument of ``range`` that is one too large."""
    if isinstance(node, ast.Slice):
        for name in ("lower", "upper"):
            if getattr(node, name) is not None:
                yield "off by one", ast.unparse(_other(node, **{name: _next(getattr(node, name))}))
    if isinstance(node, ast.Call) and _name(node) in ("range", "arange"):
        for index, part in enumerate(node.args):
            yield "off by one", _with(node, args=[*node.args[:index], _next(part), *node.args[index + 1 :]])
    if isinstance(node, ast.Subscript) and re.fullmatch(r"-?\d+", ast.unparse(node.slice)):
        yield "off by one", _with(node, slice=_next(node.slice))


def _next(node: ast.expr) -> ast.expr:
    return ast.BinOp(node, ast.Add(), ast.Constant(1))


def twins(node: ast.AST) -> Iterator[Change]:
    """``min`` for ``max`` and the like."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in OTHER_NAME:
            func: ast.expr = ast.Attribute(node.func.value, OTHER_NAME[node.func.attr], ast.Load())
            yield "min/max", _with(node, func=func)
        if isinstance(node.func, ast.Name) and node.func.id in OTHER_NAME:
            yield "min/max", _with(node, func=ast.Name(OTHER_NAME[node.func.id]))


def negation(node: ast.AST) -> Iterator[Change]:
    """A condition turned round, a ``not`` lost, ``and`` for ``or``."""
    if isinstance(node, ast.IfExp):
        yield "not", _with(node, body=node.orelse, orelse=node.body)
    if isinstance(node, ast.If) and not node.orelse:
        body = "\n".join(" " * (node.col_offset + 4) + line for line in _lines(node.body))
        yield "not", f"if not ({ast.unparse(node.test)}):\n{body}"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield "not", _expression(node.operand)
    if isinstance(node, ast.BoolOp):
        yield "not", _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())


def _lines(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        yield from ast.unparse(statement).splitlines()


def dropped_statement(node: ast.AST) -> Iterator[Change]:
    """A call, a store into an array or attribute, or an error that never happens."""
    stores = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    calls = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant | ast.Yield | ast.YieldFrom)
    if stores or calls or isinstance(node, ast.AugAssign | ast.Raise | ast.Break | ast.Continue):
        yield "dropped statement", "pass"


def axis(node: ast.AST) -> Iterator[Change]:
    """Another axis of an array."""
    if isinstance(node, ast.Call):
        for index, keyword in enumerate(node.keywords):
            if keyword.arg == "axis":
                value = "0" if ast.unparse(keyword.value) != "0" else "-1"
                other = ast.keyword("axis", ast.Name(value))
                yield "axis", _with(node, keywords=[*node.keywords[:index], other, *node.keywords[index + 1 :]])
        if _name(node) in ("sum", "mean", "max", "min", "any", "all", "cumsum", "argmax", "argmin") and node.args:
            last = ast.unparse(node.args[-1])
            if last in ("-1", "0", "1", "-2"):
                yield "axis", _with(node, args=[*node.args[:-1], ast.Name("0" if last != "0" else "-1")])


def dropped_wrapper(node: ast.AST) -> Iterator[Change]:
    """A copy or a clip that is not made."""
    if not isinstance(node, ast.Call):
        return
    name, module = _name(node), isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in ("np", "copy")
    if name in COPIES or name in CLIPS:
        kept = node.args[:1] if module or isinstance(node.func, ast.Name) else []
        if isinstance(node.func, ast.Attribute) and not module:
            kept = [node.func.value]
        for one in kept:
            yield "dropped copy or clip", _expression(one)


def constants(node: ast.AST) -> Iterator[Change]:
    """Another number, the other truth value."""
    if isinstance(node, ast.Constant) and not isinstance(node.value, str | bytes | None | type(...)):
        if isinstance(node.value, bool):
            yield "constants", str(not node.value)
        else:
            yield "constants", str(node.value + 1 if isinstance(node.value, int) else node.value * 1.5 or 1.0)


def _name(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


OPERATORS: tuple[Callable[[ast.AST], Iterator[Change]], ...] = (
    arithmetic,
    comparison,
    off_by_one,
    twins,
    negation,
    dropped_statement,
    axis,
    dropped_wrapper,
    constants,
)

CONSTANTS = "constants"
"""Operator whose mutants are counted apart: another number is often as good."""
