"""The templates of one graph: found, checked, hashed and rendered; also its conditions."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import chain
from pathlib import Path
from threading import RLock
from types import CodeType, MappingProxyType
from typing import cast

from jinja2 import Template, TemplateSyntaxError, UndefinedError, nodes
from jinja2.parser import Parser
from msgspec import Struct

from ..errors import DefinitionError, Problem, PromptError, closest
from ..messages import Message
from ..os_fork import FORKS
from .branch_coverage import CURRENT_COVERAGE
from .environment import CONDITION, PromptEnvironment
from .limits import CURRENT_RENDER, RenderState
from .sources import (
    INLINE,
    InheritanceChain,
    ParsedTemplate,
    TemplateSource,
    TemplateSources,
    empty_tree,
    is_blank,
    literal_names,
    normalize_newlines,
    references,
    start_position,
)
from .static.constants import failures
from .static.flow import Scope
from .static.structure import (
    StructureChecker,
    lost_line_breaks,
    message_shape,
    syntax_problem,
    text_of_others,
)
from .static.types import StaticType, declared_type
from .static.walk import TemplateWalker, TypeChecker, VariableRead

MAX_LENGTH = 1_000_000
"""Characters in one rendered prompt."""
_LOCK = RLock()
"""Guards what all `Prompts` have cached; few threads parse templates at the same time."""
FORKS.hold(_LOCK)


class Prompts:
    """The templates of one graph: its folders in order, then the built-ins.

    A template is read, parsed and compiled on first use and cached without expiry, so later changes
    of the files are not seen. Thread-safe. `inline` has templates by node id; they are named
    `NODE.inline`, a name that no file can have. `texts` are templates by name that take the place
    of files. `max_length` limits the characters of one rendered prompt.
    """

    def __init__(
        self,
        folders: Sequence[Path] = (),
        *,
        inline: Mapping[str, str] = MappingProxyType({}),
        texts: Mapping[str, str] = MappingProxyType({}),
        max_length: int = MAX_LENGTH,
    ) -> None:
        self._sources = TemplateSources(folders, inline, texts)
        self._max_length = max_length
        self._environment = PromptEnvironment(self._compiled)
        self._coverage = CURRENT_COVERAGE.get()
        if self._coverage is not None:
            self._coverage.folders.add(tuple(folders))
            self._coverage.watch(self._environment)
        self._parsed: dict[str, ParsedTemplate | Problem | None] = {}
        self._templates: dict[str, Template] = {}
        self._valid: dict[str, tuple[Template, bool]] = {}
        self._problems: dict[str, list[Problem]] = {}
        self._hashes: dict[str, str] = {}
        self._texts: dict[str, Mapping[str, str]] = {}
        self._walkers: dict[str, TemplateWalker] = {}
        self._expressions: dict[str, Expression] = {}
        self._type_problems: dict[Hashable, list[Problem]] = {}

    def names(self) -> list[str]:
        """Every template file that can be named, sorted."""
        return self._sources.names()

    def is_builtin(self, name: str) -> bool:
        """Whether a template is a built-in one, and so are all that it reaches."""
        with _LOCK:
            return all(each.source.is_builtin for each in self._reached(name))

    def problems(self, name: str) -> list[Problem]:
        """Everything that prevents the template from being rendered; empty if it is valid.

        Covers all templates that it statically reaches. A template that does not exist is one
        problem without a position: the caller knows where it was named.
        """
        with _LOCK:
            if name not in self._problems:
                self._problems[name] = self._check(name)
            return list(self._problems[name])

    def reads(self, name: str) -> list[VariableRead]:
        """Every variable that the template, and all templates it reaches, read from the context."""
        with _LOCK:
            found = self._find(name)
            return (
                list(self._read(found).found.values()) if isinstance(found, ParsedTemplate) else []
            )

    def fills_block(self, name: str, block: str, *, beside: str) -> bool:
        """Whether a valid template has this block, with more in it than the template `beside`."""
        with _LOCK:
            found = cast("ParsedTemplate", self._find(name))
            overrides = InheritanceChain(found, self._find).overrides.get(block, ())
            return any(not is_blank(one.block, beside) for one in overrides[:1])

    def type_problems(self, name: str, given: Mapping[str, object]) -> list[Problem]:
        """Type errors, and notes, of a valid template for variables of these types.

        `given` has a Python type, JSON Schema or `StaticType` for each variable that the template
        may read. A name that is missing there is not checked: see `reads`.
        """
        with _LOCK:
            found = self._find(name)
            if not isinstance(found, ParsedTemplate):
                return []
            types = {each: declared_type(declared) for each, declared in given.items()}
            key = (name, frozenset(types.items()))
            if key not in self._type_problems:
                checker = TypeChecker(self._find, self._environment.globals)
                problems = checker.check(found, types)
                if not self.is_builtin(name):
                    problems = [*_with_failing(problems, self._failures(name)), *self._notes(found)]
                self._type_problems[key] = problems
            return list(self._type_problems[key])

    def condition_problems(self, source: str, given: Mapping[str, object]) -> list[Problem]:
        """The same for a condition, with positions inside its text; raises `DefinitionError`."""
        self.expression(source)
        with _LOCK:
            condition, parsed = _read_expression(source, self._environment)
            type_problems = TypeChecker(lambda _: None, self._environment.globals)
            types = {each: declared_type(declared) for each, declared in given.items()}
            problems = type_problems.check_condition(condition, parsed, types)
            return _with_failing(problems, self._failing(parsed))

    def expression_type(self, source: str, given: Mapping[str, object]) -> StaticType:
        """The type of an expression's value for variables of these types."""
        self.expression(source)
        with _LOCK:
            expression, parsed = _read_expression(source, self._environment)
            type_checker = TypeChecker(_find_none, self._environment.globals)
            types = {each: declared_type(declared) for each, declared in given.items()}
            return type_checker.expression_type(expression, parsed, types)

    def prompt_hash(self, name: str) -> str:
        """The sha256, in hex, of the sources of the template and of all it statically reaches."""
        digest = self._hashes.get(name)
        if digest is None:
            text = json.dumps(sorted(self.sources(name).items()), ensure_ascii=True)
            digest = self._hashes[name] = sha256(text.encode("ascii")).hexdigest()
        return digest

    def sources(self, name: str) -> Mapping[str, str]:
        """The sources, with LF line ends, of the template and of all it reaches, by name."""
        found = self._texts.get(name)
        if found is None:
            with _LOCK:
                found = {each.name: each.source.text for each in self._reached(name)}
            self._texts[name] = found
        return found

    def render(self, name: str, variables: Mapping[str, object]) -> tuple[Message, ...]:
        """Render a prompt to its messages; raises `PromptError` with the template and line."""
        template, has_roles = self._valid.get(name) or self._validate(name)
        render = RenderState(self._max_length)
        token = CURRENT_RENDER.set(render)
        try:
            context = template.new_context(cast("dict[str, object]", variables))
            text = self._environment.concat(template.root_render_func(context))
            if not has_roles:
                render.write(Message(role="user", content=text.strip("\n")))
        except Exception as error:
            raise _prompt_error(error, name, variables) from error
        finally:
            CURRENT_RENDER.reset(token)
        return tuple(render.messages)

    def expression(self, source: str) -> Expression:
        """Parse a condition (`when`, `until`); raises `DefinitionError` with its positions."""
        with _LOCK:
            if source not in self._expressions:
                parsed = _parse_expression(source, self._environment, self._max_length)
                self._expressions[source] = parsed
            return self._expressions[source]

    def _find(self, name: str) -> ParsedTemplate | Problem | None:
        if name not in self._parsed:
            found = self._sources.find(name)
            self._parsed[name] = self._parse(found) if isinstance(found, TemplateSource) else found
        return self._parsed[name]

    def _parse(self, source: TemplateSource) -> ParsedTemplate:
        if source.is_builtin:
            return ParsedTemplate(source, _builtin_tree(source.text, source.name))
        try:
            tree = self._environment.read(source.text, source.name)
        except (TemplateSyntaxError, RecursionError, ValueError) as error:
            return ParsedTemplate(source, empty_tree(), self._syntax_problem(source, error))
        return ParsedTemplate(source, tree)

    def _compiled(self, name: str) -> Template | None:
        if name not in self._templates:
            with _LOCK:
                found = self._find(name)
                if not isinstance(found, ParsedTemplate):
                    return None
                self._templates[name] = self._template(found)
        return self._templates[name]

    def _template(self, found: ParsedTemplate) -> Template:
        if self._coverage is None and found.source.is_builtin:
            return self._environment.loaded(_builtin_code(found.source.text, found.name))
        return self._environment.template(self._probed(found), found.name)

    def _probed(self, found: ParsedTemplate) -> nodes.Template:
        """The tree to compile: the checked one, or a copy with coverage probes."""
        if self._coverage is None:
            return found.tree
        return self._coverage.probe(self._environment, found.source)

    def probe(self) -> None:
        """Compile every existing template, so that coverage counts those never rendered too."""
        for name in self.names():
            if not self.problems(name):
                self._compiled(name)

    def _read(self, root: ParsedTemplate) -> TemplateWalker:
        """The walker that has visited the template and all it reaches."""
        if root.name not in self._walkers:
            reader = TemplateWalker(self._find, self._environment.globals)
            reader.walk(root, Scope())
            self._walkers[root.name] = reader
        return self._walkers[root.name]

    def _reached(self, name: str) -> list[ParsedTemplate]:
        reached: dict[str, ParsedTemplate] = {}
        todo = [name]
        while todo:
            found = self._find(each := todo.pop(0))
            if each in reached or not isinstance(found, ParsedTemplate):
                continue
            reached[each] = found
            for tag in references(found):
                todo += [constant.value for constant in literal_names(tag.template) or ()]
        return list(reached.values())

    def _check(self, name: str) -> list[Problem]:
        found = self._find(name)
        if found is None:
            suggest = self._sources.suggest(name)
            message = f"there is no template {name!r}"
            if suggest is None:
                message += (
                    " in the graph's folders or built in; write it to prompts/ beside the graph"
                )
            return [Problem("P001", message, suggestion=suggest)]
        if isinstance(found, Problem):
            return [found]
        if self.is_builtin(name):
            return []  # as a test says
        try:
            problems = [*self._problems_of_text(found), *self._problems_of_shape(found)]
            return list(dict.fromkeys(problems)) or self._uncompilable(name)
        except RecursionError as error:
            return [self._syntax_problem(found.source, error)]

    def _problems_of_text(self, root: ParsedTemplate) -> Iterator[Problem]:
        checker = StructureChecker(self._environment, self._find, self._sources.suggest)
        for template in self._reached(root.name):
            yield from checker.check(template)
            yield from self._unreadable(template)
        for template in self._entered(root):
            yield from checker.required(template)

    def _problems_of_shape(self, root: ParsedTemplate) -> Iterator[Problem]:
        shape = message_shape(root, self._find)
        yield from shape.problems
        if shape.has_roles:
            yield from shape.outside_text
        reader = self._read(root)
        for read in reader.detached_reads:
            message = f"{read.name!r} is not defined in an imported template; "
            message += "import it 'with context', or pass the value as an argument"
            yield _problem_of(read, message)
        for read in reader.early_reads:
            message = f"{read.name!r} is set only later, in an enclosing scope; "
            message += "set it before this, or rename one of the two"
            yield _problem_of(read, message)

    def _notes(self, root: ParsedTemplate) -> list[Problem]:
        lexer, reached = self._environment.lexer, self._reached(root.name)
        notes = [*chain(*(lost_line_breaks(each, lexer) for each in reached))]
        others = [*chain(*(text_of_others(each, lexer) for each in reached))]
        has_roles = bool(others) and message_shape(root, self._find).has_roles
        return notes if has_roles else [*notes, *others]

    def _failures(self, name: str) -> Iterator[Problem]:
        return chain.from_iterable(self._failing(each) for each in self._reached(name))

    def _failing(self, template: ParsedTemplate) -> Iterator[Problem]:
        """What constants alone make fail in a template's own text."""
        for failure in failures(template, self._evaluate):
            message = f"this fails in every run that reaches it: {failure.reason}"
            yield template.problem_at(start_position(failure.node), "P019", message)

    def _evaluate(self, expression: nodes.Expr) -> str | None:
        """Evaluate an expression that reads no variables; what goes wrong, or None."""
        line = expression.lineno
        value = nodes.Filter(expression, CONDITION, [], [], None, None, lineno=line)
        tree = nodes.Template([nodes.Output([value], lineno=line)], lineno=line)
        tree.set_environment(self._environment)
        template = self._environment.template(tree, "")
        try:
            Expression("", [], template, self._max_length).value({})
        except PromptError as error:
            return _explanation(cast("Exception", error.__cause__), {})
        return None

    def _syntax_problem(self, source: TemplateSource, error: Exception) -> Problem:
        return syntax_problem(source, error, self._environment.lexer)

    def _unreadable(self, template: ParsedTemplate) -> list[Problem]:
        names = [
            name.value for tag in references(template) for name in literal_names(tag.template) or ()
        ]
        found = [self._find(name) for name in names]
        return [each for each in found if isinstance(each, Problem)]

    def _entered(self, root: ParsedTemplate) -> list[ParsedTemplate]:
        """The templates that are rendered themselves, not only as the parent of another."""
        entered = {root.name: root}
        for template in self._reached(root.name):
            for tag in references(template):
                if isinstance(tag, nodes.Extends):
                    continue
                for name in literal_names(tag.template) or ():
                    if isinstance(found := self._find(name.value), ParsedTemplate):
                        entered[found.name] = found
        return list(entered.values())

    def _uncompilable(self, name: str) -> list[Problem]:
        problems: list[Problem] = []
        for template in self._reached(name):
            try:
                self._compiled(template.name)
            except (TemplateSyntaxError, SyntaxError, RecursionError) as error:
                problems.append(self._syntax_problem(template.source, error))
        return problems

    def _validate(self, name: str) -> tuple[Template, bool]:
        with _LOCK:
            if problems := self.problems(name):
                first = problems[0]
                message = _problem_text(first)
                raise PromptError(message, template=first.file or name, line=first.line)
            found = cast("ParsedTemplate", self._find(name))
            template = cast("Template", self._compiled(name))
            self._valid[name] = (template, message_shape(found, self._find).has_roles)
            return self._valid[name]


@cache
def _builtin_tree(text: str, name: str) -> nodes.Template:
    """The syntax tree of a built-in template, parsed once for all graphs; nobody changes it."""
    return PromptEnvironment(_find_none).read(text, name)


@cache
def _builtin_code(text: str, name: str) -> CodeType:
    """The compiled code of a built-in template."""
    return PromptEnvironment(_find_none).compile(_builtin_tree(text, name), name, name)


def _with_failing(problems: Sequence[Problem], failing: Iterable[Problem]) -> list[Problem]:
    """The problems, and what fails on the lines that have none of them."""
    lines = {(each.file, each.line) for each in problems}
    return [*problems, *(each for each in failing if (each.file, each.line) not in lines)]


def _problem_text(problem: Problem) -> str:
    """The message and suggestion of a problem, without its position."""
    near = problem.suggestion
    return f"{problem.message}; did you mean {near!r}?" if near else problem.message


def _problem_of(read: VariableRead, message: str) -> Problem:
    file = None if read.file.endswith(INLINE) else read.file
    return Problem("P002", message, file=file, line=read.line, column=read.column)


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed condition; `reads` are the variables that it needs."""

    source: str
    reads: list[VariableRead]
    _template: Template = field(repr=False, compare=False)
    _max_length: int = field(repr=False, compare=False)

    def test(self, variables: Mapping[str, object]) -> bool:
        """Whether it is true; raises `PromptError` where it cannot be evaluated."""
        return self._evaluate(variables).condition

    def value(self, variables: Mapping[str, object]) -> object:
        """Its value; raises `PromptError` where it cannot be evaluated."""
        return self._evaluate(variables).value

    def _evaluate(self, variables: Mapping[str, object]) -> RenderState:
        render = RenderState(self._max_length)
        token = CURRENT_RENDER.set(render)
        try:
            context = self._template.new_context(dict(variables))
            for _ in self._template.root_render_func(context):
                pass
            if isinstance(render.value, Iterator):  # of a filter such as `map`
                render.value = [*cast("Iterator[object]", render.value)]
        except Exception as error:
            raise _prompt_error(error, self.source, variables) from error
        finally:
            CURRENT_RENDER.reset(token)
        return render


def _parse_expression(source: str, environment: PromptEnvironment, max_length: int) -> Expression:
    """Parse and check a condition; raises `DefinitionError` with positions inside its text."""
    text = TemplateSource("", normalize_newlines(source), None)
    try:
        condition, parsed = _read_expression(source, environment)
        problems = list(StructureChecker(environment, _find_none, _find_none).check(parsed))
        reads = TemplateWalker(_find_none, environment.globals).expression(condition, parsed)
        template = None if problems else environment.template(parsed.tree, source)
    except (TemplateSyntaxError, SyntaxError, RecursionError, ValueError) as error:
        problem = _braces_problem(source) or syntax_problem(text, error, environment.lexer)
        raise DefinitionError([problem]) from error
    if template is None:
        raise DefinitionError(problems)
    return Expression(source, reads, template, max_length)


def _braces_problem(source: str) -> Problem | None:
    """The problem of a condition that is written as a template, None if it is not."""
    braces = re.search(r"\{[{%]", source)
    if braces is None:
        return None
    bare = re.sub(r"\{[{%][-+]?\s*(?:(?:el)?if\b|endif\b)?|[-+]?[%}]\}", " ", source)
    message = "a condition is an expression and has no braces around it"
    message += f": write `{' '.join(bare.split())}`" if not source[: braces.start()].strip() else ""
    line = source.count("\n", 0, braces.start()) + 1
    column = braces.start() - (source.rfind("\n", 0, braces.start()) + 1) + 1
    return Problem("P011", message, line=line, column=column)


def _read_expression(
    text: str, environment: PromptEnvironment
) -> tuple[nodes.Expr, ParsedTemplate]:
    """The tree of a condition, alone and inside a template; raises `TemplateSyntaxError`."""
    source = TemplateSource("", normalize_newlines(text), None)
    parser = Parser(environment, source.text, state="variable")
    condition = parser.parse_expression()
    if not parser.stream.eos:
        if parser.stream.current.type == "assign":
            parser.fail("expected an operator, got '='", parser.stream.current.lineno)
        parser.fail("this is more than one expression: join them with 'and' or 'or'")
    line = condition.lineno
    recorded = nodes.Filter(condition, CONDITION, [], [], None, None, lineno=line)
    tree = nodes.Template([nodes.Output([recorded], lineno=line)], lineno=line)
    parsed = ParsedTemplate(source, environment.with_limits(tree))
    # A slice has become a filter, whose type is known.
    limited = next(one for one in parsed.tree.find_all(nodes.Filter) if one.name == CONDITION)
    return cast("nodes.Expr", limited.node), parsed


def _find_none(name: str) -> None:
    """The lookup of a condition: it can reach no templates."""


class CapturedPrompt(Struct, frozen=True):
    """What a prompt was rendered from (sources by name, variables), and its messages."""

    template: str
    sources: Mapping[str, str]
    variables: Mapping[str, object]
    messages: tuple[Message, ...]


CAPTURED_PROMPTS: ContextVar[list[CapturedPrompt] | None] = ContextVar(
    "captured_prompts", default=None
)
"""Collects each prompt that is rendered for a model, where set."""


_NO_FIELD = r"'[\w.]+(?: object)?' has no attribute '(.*)'"
_UNDEFINED = r"'(\w+)' is undefined"


def _prompt_error(error: Exception, name: str, variables: Mapping[str, object]) -> PromptError:
    """Wrap an exception of a render, with the innermost template and line it passed through."""
    template, line = _failing_line(error, name)
    return PromptError(_explanation(error, variables), template=template, line=line)


def _failing_line(error: Exception, name: str) -> tuple[str, int | None]:
    """The innermost template, and its line, in the traceback."""
    place: tuple[str, int | None] = (name, None)
    trace = error.__traceback__
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            place = (template.name or name, template.get_corresponding_lineno(trace.tb_lineno))
        trace = trace.tb_next
    return place


def _explanation(error: Exception, variables: Mapping[str, object]) -> str:
    text = str(error).split("\n", 1)[0].rstrip(".")
    if isinstance(error, RecursionError):
        return "the template calls or includes itself without end"
    if isinstance(error, MemoryError):
        return "the template needs more memory than is available"
    if isinstance(error, UndefinedError) and (missing := re.fullmatch(_UNDEFINED, text)):
        near = closest(missing[1], variables)
        offered = ", ".join(sorted(variables)) or "nothing"
        hint = f"did you mean {near!r}?" if near else f"defined here: {offered}"
        return f"{text}; {hint}"
    if isinstance(error, UndefinedError) and (field := re.fullmatch(_NO_FIELD, text)):
        guard = "guard it with {% if %}, or add | default('', true)"
        return f"{field[1]!r} may be missing here; {guard}"
    return text or type(error).__name__
