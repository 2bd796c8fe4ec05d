"""Conditions: one expression, as `when:` and `until:` have it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.parser import Parser

from ..errors import DefinitionError
from .environment import ANSWER, PromptEnvironment
from .limits import CURRENT, Rendering
from .positions import with_lf
from .rendered import prompt_error
from .sources import Source
from .static.names import Checker
from .static.syntax import syntax_problem
from .static.tree import Parsed
from .static.walk import Read, Reader


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition that was parsed; `reads` are the names that it needs."""

    source: str
    reads: list[Read]
    _template: Template = field(repr=False, compare=False)
    _longest: int = field(repr=False, compare=False)

    def test(self, variables: Mapping[str, object]) -> bool:
        """Whether the condition holds; raises `PromptError` where it cannot be told."""
        rendering = Rendering(self._longest)
        token = CURRENT.set(rendering)
        try:
            context = self._template.new_context(dict(variables))
            for _ in self._template.root_render_func(context):
                pass
        except Exception as error:
            raise prompt_error(error, self.source, variables) from error
        finally:
            CURRENT.reset(token)
        return rendering.answer


def parse_expression(source: str, environment: PromptEnvironment, longest: int) -> Expression:
    """Parse a condition; raises `DefinitionError` with places inside its text."""
    text = Source("", with_lf(source), None)
    try:
        condition, parsed = read_expression(source, environment)
        problems = list(Checker(environment, _find_none, _find_none).check(parsed))
        reads = Reader(_find_none, environment.globals).expression(condition, parsed)
        template = None if problems else environment.template(parsed.tree, source)
    except (TemplateSyntaxError, SyntaxError, RecursionError, ValueError) as error:
        raise DefinitionError([syntax_problem(text, error, environment.lexer)]) from error
    if template is None:
        raise DefinitionError(problems)
    return Expression(source, reads, template, longest)


def read_expression(text: str, environment: PromptEnvironment) -> tuple[nodes.Expr, Parsed]:
    """The tree of a condition, alone and as a template; raises `TemplateSyntaxError`."""
    source = Source("", with_lf(text), None)
    parser = Parser(environment, source.text, state="variable")
    condition = parser.parse_expression()
    if not parser.stream.eos:
        parser.fail("this is more than one expression: join them with 'and' or 'or'")
    line = condition.lineno
    answer = nodes.Filter(condition, ANSWER, [], [], None, None, lineno=line)
    tree = nodes.Template([nodes.Output([answer], lineno=line)], lineno=line)
    return condition, Parsed(source, environment.counted(tree))


def _find_none(name: str) -> None:
    """A condition reaches no templates."""
