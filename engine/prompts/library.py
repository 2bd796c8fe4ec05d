"""The templates that one graph can reach: found, checked, hashed and rendered."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import chain
from pathlib import Path
from threading import RLock
from types import MappingProxyType
from typing import cast

from jinja2 import Template, TemplateSyntaxError, nodes

from ..errors import Problem, PromptError
from ..messages import Message
from .conditions import Expression, parse_expression, read_expression
from .coverage import MEASURED
from .environment import PromptEnvironment
from .limits import CURRENT, Rendering
from .rendered import prompt_error
from .sources import INLINE, Source, Sources
from .static.contract import Contract
from .static.names import Checker
from .static.scope import Scope
from .static.shape import shape_of, swallowed
from .static.syntax import syntax_problem
from .static.tree import Parsed, empty_tree, named, references
from .static.types import of
from .static.walk import Read, Reader

LONGEST = 1_000_000
"""Characters in one rendered prompt."""


class Prompts:
    """The templates of one graph: its folders in order, then the built-ins.

    A template is read, parsed and compiled once, when it is first asked for; what comes out of that
    is kept for good, so a `Prompts` shows the files as they were. Safe to use from many threads.
    `inline` gives templates by node id; they are named `NODE.inline`, a name no file can have.
    `longest` is how many characters one rendered prompt may have.
    """

    def __init__(
        self,
        folders: Sequence[Path] = (),
        *,
        inline: Mapping[str, str] = MappingProxyType({}),
        longest: int = LONGEST,
    ) -> None:
        self._sources = Sources(folders, inline)
        self._longest = longest
        self._environment = PromptEnvironment(self._compiled)
        self._coverage = MEASURED.get()
        if self._coverage is not None:
            self._coverage.folders.add(tuple(folders))
            self._coverage.watch(self._environment)
        self._lock = RLock()
        self._parsed: dict[str, Parsed | Problem | None] = {}
        self._templates: dict[str, Template] = {}
        self._sound: dict[str, tuple[Template, bool]] = {}
        self._problems: dict[str, list[Problem]] = {}
        self._hashes: dict[str, str] = {}
        self._readers: dict[str, Reader] = {}
        self._expressions: dict[str, Expression] = {}
        self._contracts: dict[Hashable, list[Problem]] = {}

    def names(self) -> list[str]:
        """Every template file that can be named, sorted."""
        return self._sources.names()

    def problems(self, name: str) -> list[Problem]:
        """Everything that keeps the template from being rendered; empty if nothing does.

        Covers all that the template statically reaches. A template that is not there is one
        problem without a place: that is where it was named.
        """
        with self._lock:
            if name not in self._problems:
                self._problems[name] = self._check(name)
            return list(self._problems[name])

    def reads(self, name: str) -> list[Read]:
        """Every name that the template, and all it reaches, reads from its context."""
        with self._lock:
            found = self._find(name)
            return list(self._read(found).found.values()) if isinstance(found, Parsed) else []

    def contract(self, name: str, given: Mapping[str, object]) -> list[Problem]:
        """What in a sound template cannot hold for variables of these types; notes with it.

        `given` are Python types, JSON Schemas or what `engine.prompts.known` says, by name, of all
        that the template is given. A name that is not among them is not judged here: `reads` tells
        which there are.
        """
        with self._lock:
            found = self._find(name)
            if not isinstance(found, Parsed):
                return []
            known = {each: of(declared) for each, declared in given.items()}
            key = (name, frozenset(known.items()))
            if key not in self._contracts:
                contract = Contract(self._find, self._environment.globals)
                notes = [swallowed(each, self._environment.lexer) for each in self._reached(name)]
                self._contracts[key] = [*contract.check(found, known), *chain(*notes)]
            return list(self._contracts[key])

    def condition_contract(self, source: str, given: Mapping[str, object]) -> list[Problem]:
        """The same for a condition, with places inside its text; raises `DefinitionError`."""
        self.expression(source)
        with self._lock:
            condition, parsed = read_expression(source, self._environment)
            contract = Contract(lambda _: None, self._environment.globals)
            known = {each: of(declared) for each, declared in given.items()}
            return contract.check_condition(condition, parsed, known)

    def prompt_hash(self, name: str) -> str:
        """A sha256, in hex, of the sources of the template and of all it statically reaches."""
        known = self._hashes.get(name)
        if known is None:
            text = json.dumps(sorted(self.sources(name).items()), ensure_ascii=True)
            known = self._hashes[name] = sha256(text.encode("ascii")).hexdigest()
        return known

    def sources(self, name: str) -> dict[str, str]:
        """The text, with LF line ends, of the template and of all it reaches, by name."""
        with self._lock:
            return {each.name: each.source.text for each in self._reached(name)}

    def render(self, name: str, variables: Mapping[str, object]) -> tuple[Message, ...]:
        """The messages of a prompt; raises `PromptError` with the place that failed."""
        template, speaks = self._sound.get(name) or self._make_sound(name)
        rendering = Rendering(self._longest)
        token = CURRENT.set(rendering)
        try:
            context = template.new_context(cast("dict[str, object]", variables))
            text = self._environment.concat(template.root_render_func(context))
            if not speaks:
                rendering.write(Message(role="user", content=text.strip("\n")))
        except Exception as error:
            raise prompt_error(error, name, variables) from error
        finally:
            CURRENT.reset(token)
        return tuple(rendering.messages)

    def expression(self, source: str) -> Expression:
        """A condition (`when`, `until`); raises `DefinitionError` with places in its text."""
        with self._lock:
            if source not in self._expressions:
                parsed = parse_expression(source, self._environment, self._longest)
                self._expressions[source] = parsed
            return self._expressions[source]

    def _find(self, name: str) -> Parsed | Problem | None:
        if name not in self._parsed:
            found = self._sources.find(name)
            self._parsed[name] = self._parse(found) if isinstance(found, Source) else found
        return self._parsed[name]

    def _parse(self, source: Source) -> Parsed:
        try:
            tree = self._environment.read(source.text, source.name)
        except (TemplateSyntaxError, RecursionError, ValueError) as error:
            return Parsed(source, empty_tree(), self._syntax_problem(source, error))
        return Parsed(source, tree)

    def _compiled(self, name: str) -> Template | None:
        if name not in self._templates:
            with self._lock:
                found = self._find(name)
                if not isinstance(found, Parsed):
                    return None
                self._templates[name] = self._environment.template(self._probed(found), name)
        return self._templates[name]

    def _probed(self, found: Parsed) -> nodes.Template:
        """The tree to compile: the one that was checked, or another with probes in it."""
        if self._coverage is None:
            return found.tree
        return self._coverage.probe(self._environment, found.source)

    def probe(self) -> None:
        """Compile every template that there is, so that those nobody rendered are counted too."""
        for name in self.names():
            if not self.problems(name):
                self._compiled(name)

    def _read(self, root: Parsed) -> Reader:
        """What has walked the template and all it reaches."""
        if root.name not in self._readers:
            reader = Reader(self._find, self._environment.globals)
            reader.walk(root, Scope())
            self._readers[root.name] = reader
        return self._readers[root.name]

    def _reached(self, name: str) -> list[Parsed]:
        reached: dict[str, Parsed] = {}
        todo = [name]
        while todo:
            found = self._find(each := todo.pop(0))
            if each in reached or not isinstance(found, Parsed):
                continue
            reached[each] = found
            for tag in references(found):
                todo += [constant.value for constant in named(tag.template) or ()]
        return list(reached.values())

    def _check(self, name: str) -> list[Problem]:
        found = self._find(name)
        if found is None:
            near = self._sources.near(name)
            told = f"there is no template {name!r}"
            told += "" if near else " in the graph's folders (prompts/ beside it) or built in"
            return [Problem("P001", told, suggestion=near)]
        if isinstance(found, Problem):
            return [found]
        try:
            problems = [*self._problems_of_text(found), *self._problems_of_shape(found)]
            return list(dict.fromkeys(problems)) or self._uncompilable(name)
        except RecursionError as error:
            return [self._syntax_problem(found.source, error)]

    def _problems_of_text(self, root: Parsed) -> Iterator[Problem]:
        checker = Checker(self._environment, self._find, self._sources.near)
        for template in self._reached(root.name):
            yield from checker.check(template)
            yield from self._unreadable(template)
        for template in self._entered(root):
            yield from checker.required(template)

    def _problems_of_shape(self, root: Parsed) -> Iterator[Problem]:
        shape = shape_of(root, self._find)
        yield from shape.problems
        if shape.speaks:
            yield from shape.loose
        reader = self._read(root)
        for read in reader.unseen:
            told = f"{read.name!r} cannot be seen in a template that is imported; "
            told += "import it 'with context', or pass the value as an argument"
            yield _problem_of(read, told)
        for read in reader.early:
            told = f"{read.name!r} is set only later, further out; set it before, or rename one"
            yield _problem_of(read, told)

    def _syntax_problem(self, source: Source, error: Exception) -> Problem:
        return syntax_problem(source, error, self._environment.lexer)

    def _unreadable(self, template: Parsed) -> list[Problem]:
        names = [name.value for tag in references(template) for name in named(tag.template) or ()]
        found = [self._find(name) for name in names]
        return [each for each in found if isinstance(each, Problem)]

    def _entered(self, root: Parsed) -> list[Parsed]:
        """The templates that are rendered for themselves, not as the parent of another."""
        entered = {root.name: root}
        for template in self._reached(root.name):
            for tag in references(template):
                if isinstance(tag, nodes.Extends):
                    continue
                for name in named(tag.template) or ():
                    if isinstance(found := self._find(name.value), Parsed):
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

    def _make_sound(self, name: str) -> tuple[Template, bool]:
        with self._lock:
            if problems := self.problems(name):
                first = problems[0]
                told = _told(first)
                raise PromptError(told, template=first.file or name, line=first.line)
            found = cast("Parsed", self._find(name))
            template = cast("Template", self._compiled(name))
            self._sound[name] = (template, shape_of(found, self._find).speaks)
            return self._sound[name]


def _told(problem: Problem) -> str:
    """A problem's text without its place."""
    near = problem.suggestion
    return f"{problem.message}; did you mean {near!r}?" if near else problem.message


def _problem_of(read: Read, told: str) -> Problem:
    file = None if read.file.endswith(INLINE) else read.file
    return Problem("P002", told, file=file, line=read.line, column=read.column)
