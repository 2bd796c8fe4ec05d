"""What tests, comparisons and operators come to, and what they cannot take."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.visitor import NodeVisitor

from .judge import Judge
from .known import ANYTHING, TRUTH, Items, Known
from .scope import Place
from .sort import CONTAINER, NUMERIC, has_order, result, sorts_of

_ORDERING = frozenset(("lt", "lteq", "gt", "gteq"))
_NUMERIC_TESTS = frozenset(("even", "odd", "divisibleby"))
_ORDER_TESTS = frozenset((*_ORDERING, "le", "ge", "<", "<=", ">", ">=", "greaterthan", "lessthan"))
_TESTS_OF_WHAT_IS_THERE = frozenset(("lower", "upper", "in", "iterable", "eq", "equalto", "ne"))


class Computing(NodeVisitor):
    """The part of following expressions that computes with values."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def of(self, node: nodes.Node, place: Place) -> Known:
        """What an expression can be."""
        known: Known | None = self.visit(node, place)
        return ANYTHING if known is None else known

    def visit_Not(self, node: nodes.Not, place: Place) -> Known:
        self.of(node.node, place)
        return TRUTH

    def visit_Test(self, node: nodes.Test, place: Place) -> Known:
        if node.name in ("defined", "undefined"):
            with self._judge.none_is_fine():
                self.of(node.node, place)
            return TRUTH
        known = self.of(node.node, place)
        others = [self.of(each, place) for each in node.args]
        if node.name in _NUMERIC_TESTS:
            known = self._judge.without_none(node.node, known, place)
            self._judge.fit(node.node, known, NUMERIC, f"is {node.name}", place)
        elif node.name in _TESTS_OF_WHAT_IS_THERE:
            self._judge.without_absent(node.node, known, place)
        if node.name == "in" and others:
            self._check_in(node.node, known, node.args[0], others[0], place)
        elif node.name in _ORDER_TESTS and others:
            self._check_order(node.node, known, node.args[0], others[0], place)
        return TRUTH

    def visit_Compare(self, node: nodes.Compare, place: Place) -> Known:
        left, known = node.expr, self.of(node.expr, place)
        for operand in node.ops:
            right, its = operand.expr, self.of(operand.expr, place)
            if operand.op in _ORDERING:
                self._check_order(left, known, right, its, place)
            elif operand.op in ("in", "notin"):
                self._check_in(left, known, right, its, place)
            else:
                self._judge.without_absent(left, known, place)
                self._judge.without_absent(right, its, place)
                self._judge.compare(left, known, [right], place)
                self._judge.compare(right, its, [left], place)
            left, known = right, its
        return TRUTH

    def _check_order(
        self, left: nodes.Expr, known: Known, right: nodes.Expr, its: Known, place: Place
    ) -> None:
        known = self._judge.without_none(left, known, place)
        its = self._judge.without_none(right, its, place)
        if not has_order(known, its):
            self._judge.tell_both((left, known), (right, its), "cannot be compared", place)

    def _check_in(
        self, left: nodes.Expr, known: Known, right: nodes.Expr, its: Known, place: Place
    ) -> None:
        self._judge.without_absent(left, known, place)
        its = self._judge.without_none(right, its, place)
        self._judge.fit(right, its, CONTAINER, "in", place)
        if "text" in sorts_of(its) and not sorts_of(known) <= {"text", "any"}:
            told = "cannot be looked for in it"
            self._judge.tell_both((left, known), (right, its), told, place)
        if isinstance(right, nodes.List | nodes.Tuple):
            self._judge.compare(left, known, right.items, place)
        elif isinstance(its, Items):
            self._judge.compare(right, its.item, [left], place)

    def visit_Add(self, node: nodes.BinExpr, place: Place) -> Known:
        """Compute with two values; the same for every operator between two values."""
        left = self._judge.without_none(node.left, self.of(node.left, place), place)
        right = self._judge.without_none(node.right, self.of(node.right, place), place)
        if node.operator == "%" and "text" in sorts_of(left):
            self._judge.check_printed(node.right, right, place)
        made = result(node.operator, left, right)
        if made is None:
            told = f"cannot be taken together by {node.operator}"
            self._judge.tell_both((node.left, left), (node.right, right), told, place)
        return left if made is None else made

    visit_Sub = visit_Mul = visit_Div = visit_FloorDiv = visit_Mod = visit_Pow = visit_Add

    def visit_Neg(self, node: nodes.UnaryExpr, place: Place) -> Known:
        """Turn the sign of a number."""
        known = self._judge.without_none(node.node, self.of(node.node, place), place)
        self._judge.fit(node.node, known, NUMERIC, node.operator, place)
        return known

    visit_Pos = visit_Neg
