"""How the tree of a template becomes Python: what is printed goes through one function."""

from __future__ import annotations

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame


class PrintingCode(CodeGenerator):
    """Prints each expression with `environment.printed`, and computes none before it is rendered.

    Jinja's own way, `str(environment.finalize(context, ...))`, is three calls for each.
    """

    def _make_finalize(self) -> CodeGenerator._FinalizeInfo:
        return self._FinalizeInfo(None, "environment.printed(")

    def _output_child_pre(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(finalize.src or "")

    def _output_child_post(
        self, node: nodes.Expr, frame: Frame, finalize: CodeGenerator._FinalizeInfo
    ) -> None:
        self.write(")")
