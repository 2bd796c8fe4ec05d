"""Template sources and their syntax trees: lookup, line and column of each token, references.

Jinja passes the line number of a token on to every node of its tree without looking at it, so an
`int` subclass that also carries the column gives each node an exact position.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from codecs import BOM_UTF8
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from itertools import accumulate
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TypeAlias, TypeVar, cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.lexer import Lexer
from msgspec import Struct, field

from ..errors import Problem, closest

BUILTIN = Path(__file__).parents[2] / "prompts"
INLINE = ".inline"
_BUILTIN_PREFIX = "builtin/"
SUFFIXES = (".jinja", ".jinja2", ".j2")
"""The ends of the names of template files."""
Kind = TypeVar("Kind", bound=nodes.Node)


class TemplateSource(Struct, frozen=True):
    """The text of one template with LF line ends; `file` is None for an inline template."""

    name: str
    text: str
    file: str | None
    is_builtin: bool = False


class TemplateSources:
    """Finds templates by name: in the folders in order, then among the built-ins.

    `builtin/NAME` is always the built-in. A name that ends in `.inline` is never a file, so inline
    templates and files cannot clash. `texts` are templates by name that take the place of others.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        inline: Mapping[str, str],
        texts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folders = tuple(folders)
        self._texts = {name: normalize_newlines(text) for name, text in texts.items()}
        self._inline = {
            f"{node}{INLINE}": normalize_newlines(text) for node, text in inline.items()
        }

    def names(self) -> list[str]:
        """Every file that a graph or template can name, sorted, without duplicates."""
        return template_names(self._folders)

    def suggest(self, name: str) -> str | None:
        """The existing template whose name is closest to `name`, or None."""
        return meant_template(name, self.names())

    def find(self, name: str) -> TemplateSource | Problem | None:
        """The template, the problem of an unreadable file, or None if it does not exist."""
        if (given := self._texts.get(name)) is not None:
            return TemplateSource(name, given, None)
        if name.endswith(INLINE):
            text = self._inline.get(name)
            return None if text is None else TemplateSource(name, text, None)
        found = self._path(name)
        return None if found is None else _read_file(name, *found)

    def _path(self, name: str) -> tuple[Path, Path] | None:
        """The folder and the file of a template."""
        if "\\" in name or "\0" in name or name.startswith("/"):
            return None
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts:
            return None
        folders: Sequence[Path] = (*self._folders, BUILTIN)
        if name.startswith(_BUILTIN_PREFIX):
            folders, parts = (BUILTIN,), parts[1:]
        paths = ((folder, folder.joinpath(*parts)) for folder in folders)
        return next((found for found in paths if _is_file(found[1])), None)


def template_names(folders: Sequence[Path]) -> list[str]:
    """Every template file in the folders and among the built-ins, sorted, without duplicates."""
    return sorted({*_builtin_names(), *(name for folder in folders for name in _names(folder))})


def meant_template(name: str, known: Collection[str]) -> str | None:
    """The name that is closest to `name`, also without folders that it begins with, or None."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    stems = {_without_suffix(each): each for each in known}
    wanted = [_without_suffix("/".join(parts[index:])) for index in range(len(parts))]
    near = next((each for each in wanted if each in stems), None)
    near = near or closest(_without_suffix(name), stems)
    return stems[near] if near else None


def _without_suffix(name: str) -> str:
    suffix = next((each for each in SUFFIXES if name.endswith(each)), "")
    return name.removesuffix(suffix)


@cache
def _builtin_names() -> tuple[str, ...]:
    """The names of the built-in templates, with and without their prefix; listed once."""
    names = _names(BUILTIN)
    return (*names, *(_BUILTIN_PREFIX + name for name in names))


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*.j*") if path.name.endswith(SUFFIXES))
    return [path.relative_to(folder).as_posix() for path in files if _is_inside(path, folder)]


def _read_file(name: str, folder: Path, path: Path) -> TemplateSource | Problem:
    file = _display_path(path)
    if not _is_inside(path, folder):
        message = f"template {name!r} is a symbolic link out of its folder; "
        message += "copy the file there, or add its folder to the prompt folders"
        return Problem("P016", message, file=file)
    data = b""
    try:
        data = path.read_bytes().removeprefix(BOM_UTF8)
        text = normalize_newlines(data.decode())
        return TemplateSource(name, text, file, folder == BUILTIN)
    except UnicodeDecodeError as error:
        message = f"template {name!r} is not UTF-8 (byte {error.start}): save it as UTF-8"
        before = normalize_newlines(data[: error.start].decode())
        at = LineIndex(before).position(len(before))
        return Problem("P016", message, file=file, line=int(at), column=at.column)
    except OSError as error:
        message = f"template {name!r} cannot be read: {error.strerror or error}"
        return Problem("P016", message, file=file)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long for a file
        return False


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a file lies in a folder after symbolic links are resolved."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def _display_path(path: Path) -> str:
    """The path for messages: relative to the working directory where it lies below it."""
    full = path.absolute()
    here = Path.cwd()
    return str(full.relative_to(here) if full.is_relative_to(here) else full)


class Position(int):
    """A line number from 1; `column` counts code points from 1, `offset` counts from 0."""

    column: int
    offset: int

    def __new__(cls, line: int, column: int, offset: int) -> Position:
        self = super().__new__(cls, line)
        self.column = column
        self.offset = offset
        return self


START = Position(1, 1, 0)


class LineIndex:
    """Offsets of the line starts of a text that has LF line ends only."""

    def __init__(self, text: str) -> None:
        lengths = (len(line) + 1 for line in text.split("\n"))
        self._starts = [0, *accumulate(lengths)]

    def position(self, offset: int) -> Position:
        """The line and column of the character at `offset`."""
        line = min(bisect_right(self._starts, offset), len(self._starts) - 1)
        return Position(line, offset - self._starts[line - 1] + 1, offset)


def normalize_newlines(text: str) -> str:
    """The text with CRLF and CR replaced by LF, as Jinja reads it."""
    return re.sub(r"\r\n?", "\n", text)


def position_of(line: int) -> Position:
    """The position in a node's line number; column 1 where Jinja made up the number itself."""
    return line if isinstance(line, Position) else Position(line, 1, 0)


class PositionLexer(Lexer):
    """Jinja's lexer, with a `Position` as the line number of each token and each error."""

    def tokeniter(
        self,
        source: str,
        name: str | None,
        filename: str | None = None,
        state: str | None = None,
    ) -> Iterator[tuple[int, str, str]]:
        """Yield `(position, token type, value)`; only white space lies between two values."""
        source = normalize_newlines(source)
        lines = LineIndex(source)
        begin = end = 0
        tokens = super().tokeniter(source, name, filename, state)
        try:
            for _, token, value in tokens:
                begin = max(source.find(value, end), end)
                end = begin + len(value)
                yield lines.position(begin), token, value
        except TemplateSyntaxError as error:
            # An unclosed comment or raw block is reported where it opens.
            opened = error.message is not None and error.message.startswith("Missing end of")
            place = lines.position(begin if opened else end)
            raise TemplateSyntaxError(error.message or "", place, name, filename) from error


class ParsedTemplate(Struct, frozen=True, eq=False):
    """A template and its syntax tree, or the problem that prevented parsing."""

    source: TemplateSource
    tree: nodes.Template
    problem: Problem | None = None
    _found: dict[object, Sequence[nodes.Node]] = field(
        default_factory=dict[object, Sequence[nodes.Node]]
    )

    @property
    def name(self) -> str:
        """The name that other templates reference it by."""
        return self.source.name

    @property
    def parent(self) -> nodes.Extends | None:
        """The `extends` tag at the top level, if any."""
        return next((node for node in self.tree.body if isinstance(node, nodes.Extends)), None)

    def find_all(self, *kinds: type[Kind]) -> Sequence[Kind]:
        """The nodes of these kinds, in reading order; cached."""
        if kinds not in self._found:
            if nodes.Node not in self._found:
                self._found[nodes.Node] = [*_walked(self.tree)]
            everything = self._found[nodes.Node]
            self._found[kinds] = [node for node in everything if isinstance(node, kinds)]
        return cast("Sequence[Kind]", self._found[kinds])

    def after(self, node: nodes.Node, pattern: str) -> Position:
        """The position of group 1 of `pattern`, searched from `node` on; else that of `node`."""
        position = position_of(node.lineno)
        match = re.compile(pattern, re.DOTALL).search(self.source.text, position.offset)
        return LineIndex(self.source.text).position(match.start(1)) if match else position

    def problem_at(
        self,
        position: nodes.Node | Position,
        code: str,
        message: str,
        suggestion: str | None = None,
    ) -> Problem:
        """A problem at a position in this template."""
        at = position if isinstance(position, Position) else position_of(position.lineno)
        return Problem(
            code,
            message,
            file=self.source.file,
            line=int(at),
            column=at.column,
            suggestion=suggestion,
        )


TemplateLookup: TypeAlias = Callable[[str], "ParsedTemplate | Problem | None"]
"""Gets a template by name: parsed, the problem why not, or None if it does not exist."""


def literal_names(template: nodes.Expr) -> list[nodes.Const] | None:
    """The names that an include, import or extends can have, or None if computed at run time."""
    match template:
        case nodes.Const() if isinstance(template.value, str):
            return [template]
        case nodes.Tuple() | nodes.List():
            parts = template.items
        case nodes.CondExpr() if template.expr2 is not None:
            parts = [template.expr1, template.expr2]
        case _:
            return None
    found = [literal_names(part) for part in parts]
    if not found or any(names is None for names in found):
        return None
    return [name for names in found if names is not None for name in names]


Reference: TypeAlias = nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends


def references(template: ParsedTemplate) -> Sequence[Reference]:
    """The tags that reference other templates."""
    return template.find_all(nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


def is_optional(node: Reference) -> bool:
    """Whether the referenced template may be missing."""
    return isinstance(node, nodes.Include) and (
        node.ignore_missing or not isinstance(node.template, nodes.Const | nodes.CondExpr)
    )


class ReachableTemplates:
    """The transitive closure of references, itself included; cached by template."""

    def __init__(self, find: TemplateLookup) -> None:
        self._find = find
        self._known: dict[str, frozenset[str]] = {}

    def names_from(self, template: ParsedTemplate) -> frozenset[str]:
        """The names of all templates that includes, imports and parents lead to."""
        if template.name not in self._known:
            reached: set[str] = set()
            todo = [template]
            while todo:
                each = todo.pop()
                if each.name in reached:
                    continue
                reached.add(each.name)
                names = [
                    one for tag in references(each) for one in literal_names(tag.template) or ()
                ]
                found = [self._find(name.value) for name in names]
                todo += [one for one in found if isinstance(one, ParsedTemplate)]
            self._known[template.name] = frozenset(reached)
        return self._known[template.name]


class BlockOverride(Struct, frozen=True, eq=False):
    """A block as one template of an inheritance chain defines it."""

    template: ParsedTemplate
    block: nodes.Block


class InheritanceChain:
    """A template with the parents that it extends, and the overrides of their blocks.

    The overrides of a block are in the order of `super()`: the template's own first.
    """

    def __init__(self, template: ParsedTemplate, find: TemplateLookup) -> None:
        self.members = [template]
        while (tag := self.members[-1].parent) is not None:
            names = literal_names(tag.template)
            found = find(names[0].value) if names else None
            if not isinstance(found, ParsedTemplate) or found in self.members:
                break
            self.members.append(found)
        self.overrides: dict[str, list[BlockOverride]] = {}
        for member in self.members:
            for block in member.find_all(nodes.Block):
                self.overrides.setdefault(block.name, []).append(BlockOverride(member, block))

    @property
    def base(self) -> ParsedTemplate:
        """The last parent, whose text outside of blocks is rendered."""
        return self.members[-1]


def _walked(tree: nodes.Template) -> Iterator[nodes.Node]:
    todo: list[nodes.Node] = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo += reversed([*node.iter_child_nodes()])


def is_blank(block: nodes.Block, beside: str) -> bool:
    """Whether a block prints nothing but white space, and the template `beside` if it has that."""
    texts = [part for each in block.find_all(nodes.Output) for part in each.nodes]
    included = [literal_names(each.template) or () for each in block.find_all(nodes.Include)]
    return all(
        isinstance(text, nodes.TemplateData) and not text.data.strip() for text in texts
    ) and all([name.value for name in names] == [beside] for names in included)


def empty_tree() -> nodes.Template:
    """The tree of a template that could not be parsed."""
    return nodes.Template([], lineno=START)


def block_call(node: nodes.Expr) -> str | None:
    """The block that a call of `self.NAME()` prints, "super" for `super()`, else None."""
    if not isinstance(node, nodes.Call):
        return None
    called = node.node
    if isinstance(called, nodes.Name) and called.name == "super":
        return "super"
    if isinstance(called, nodes.Getattr) and isinstance(called.node, nodes.Name):
        return called.attr if called.node.name == "self" else None
    return None


def start_position(node: nodes.Node) -> Position:
    """The first character of an expression: its own node may have the position of an operator."""
    parts = (node, *node.find_all(nodes.Expr))
    return min((position_of(part.lineno) for part in parts), key=lambda position: position.offset)
