"""Checks that need no types: syntax, references, filters and tests, blocks, placement of messages.

Placement walks the tree as it would be rendered, blocks in the override of the child. A template
that reaches a role tag may print nothing outside of these tags; a role tag may stand neither inside
another one nor where text is captured (a macro, a `set`, `call` or `filter` block).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from inspect import signature, unwrap
from typing import cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.lexer import Lexer
from jinja2.visitor import NodeVisitor
from msgspec import Struct, field
from msgspec.structs import replace

from ...errors import Problem, closest
from ..environment import (
    ATTRIBUTES,
    ROLES,
    PromptEnvironment,
    is_attach,
    is_replay,
    message_role,
)
from ..filters import FENCE_TAG
from ..sources import (
    START,
    BlockOverride,
    InheritanceChain,
    LineIndex,
    ParsedTemplate,
    Position,
    ReachableTemplates,
    Reference,
    TemplateLookup,
    TemplateSource,
    block_call,
    is_optional,
    literal_names,
    position_of,
    references,
    start_position,
)

_APPLIES = {"map": 0, "select": 0, "reject": 0, "selectattr": 1, "rejectattr": 1}
"""Where filters take the name of the filter or test that they apply to each item."""


class StructureChecker:
    """Finds the structural problems of a template; `suggest` gives the closest template name."""

    def __init__(
        self,
        environment: PromptEnvironment,
        find: TemplateLookup,
        suggest: Callable[[str], str | None],
    ) -> None:
        self._environment = environment
        self._find = find
        self._suggest = suggest
        self._reach = ReachableTemplates(find)

    def check(self, template: ParsedTemplate) -> Iterator[Problem]:
        """The problems in this template's own text."""
        if template.problem is not None:
            yield template.problem
            return
        for tag in references(template):
            yield from self._reference(template, tag)
        for test in template.find_all(nodes.Test):
            yield from self._test(template, test)
        for use in template.find_all(nodes.Filter):
            yield from self._filter(template, use)
        for modifier in template.find_all(nodes.ScopedEvalContextModifier):
            message = "{% autoescape %} is for web pages, prompts are plain text: remove it"
            yield template.problem_at(modifier, "P011", message)
        yield from self._extends(template)
        yield from self._blocks(template)
        yield from self._block_calls(template)

    def required(self, template: ParsedTemplate) -> Iterator[Problem]:
        """The required blocks of the parents that this template does not define."""
        for name, overrides in InheritanceChain(template, self._find).overrides.items():
            if not overrides[0].block.required:
                continue
            position: nodes.Node = (
                template.parent.template if template.parent else overrides[0].block
            )
            message = f"block {name!r} is required: define it with {{% block {name} %}}"
            yield template.problem_at(position, "P014", message)

    def _reference(self, template: ParsedTemplate, tag: Reference) -> Iterator[Problem]:
        if isinstance(tag, nodes.Include) and not tag.with_context:
            message = "an include always sees the names around it: remove 'without context'"
            yield template.problem_at(tag, "P013", message)
        constants = literal_names(tag.template)
        for name in constants or () if not isinstance(tag, nodes.Extends) else ():
            target = self._find(name.value)
            if isinstance(target, ParsedTemplate) and template.name in self._reach.names_from(
                target
            ):
                verb = "includes" if isinstance(tag, nodes.Include) else "imports"
                way = "" if target is template else f" through {target.name!r}"
                message = f"template {template.name!r} {verb} itself{way}; use a recursive macro"
                yield template.problem_at(name, "P014", message)
        if constants is None:
            message = "the template's name is computed at run time: "
            message += "write the name, or a list of names, as text"
            yield template.problem_at(start_position(tag.template), "P013", message)
            return
        missing = [name for name in constants if self._find(name.value) is None]
        if is_optional(tag) and (len(missing) < len(constants) or _may_be_missing(tag)):
            return
        for name in missing:
            message = f"there is no template {name.value!r}"
            yield template.problem_at(name, "P001", message, self._suggest(name.value))
        if isinstance(tag, nodes.FromImport) and not missing:
            yield from self._imported(template, tag, constants)

    def _imported(
        self, template: ParsedTemplate, tag: nodes.FromImport, constants: Sequence[nodes.Const]
    ) -> Iterator[Problem]:
        for constant in constants:
            module = self._find(constant.value)
            if not isinstance(module, ParsedTemplate) or module.problem is not None:
                continue
            exported = _exports(module, self._find)
            for each in tag.names:
                name = each[0] if isinstance(each, tuple) else each
                if name not in exported:
                    position = template.after(tag, rf"\bimport\b.*?\b({name})\b")
                    message = f"template {module.name!r} has no {name!r}"
                    yield template.problem_at(position, "P001", message, closest(name, exported))

    def _test(self, template: ParsedTemplate, use: nodes.Test) -> Iterator[Problem]:
        if use.name not in self._environment.tests:
            position = template.after(use, rf"\bis\b.*?\b({re.escape(use.name)})\b")
            suggestion = closest(use.name, self._environment.tests)
            yield template.problem_at(
                position, "P001", f"there is no test {use.name!r}", suggestion
            )
            return
        tests = cast("Mapping[str, Callable[..., object]]", self._environment.tests)
        yield from self._arity(template, use, f"test {use.name!r}", tests[use.name])

    def _filter(self, template: ParsedTemplate, use: nodes.Filter) -> Iterator[Problem]:
        if use.name not in self._environment.filters:
            suggestion = closest(use.name, self._environment.filter_names)
            yield template.problem_at(use, "P001", f"there is no filter {use.name!r}", suggestion)
            return
        yield from self._applied(template, use)
        known = self._arguments(use)
        if {each.key for each in cast("list[nodes.Keyword]", use.kwargs)} <= {*known}:
            function = self._environment.filters[use.name]
            yield from self._arity(template, use, f"filter {use.name!r}", function)
        for keyword in cast("list[nodes.Keyword]", use.kwargs) if known else ():
            if keyword.key not in known:
                position = template.after(use, rf"\b({re.escape(keyword.key)})\s*=")
                message = f"filter {use.name!r} has no argument {keyword.key!r}"
                yield template.problem_at(position, "P009", message, closest(keyword.key, known))
        if use.name == "fence":
            tag = use.args[0] if use.args else None
            if tag is None and not use.kwargs:
                message = 'fence needs the name of its tag, as in fence("document")'
                yield template.problem_at(use, "P017", message)
            elif isinstance(tag, nodes.Const) and not FENCE_TAG.fullmatch(str(tag.value)):
                message = f"fence tag {tag.value!r}: use small letters, digits, '_' and '-' only"
                yield template.problem_at(tag, "P017", message)

    def _applied(self, template: ParsedTemplate, use: nodes.Filter) -> Iterator[Problem]:
        """Report the unknown filter that `map` names, or the test that `select` does."""
        at = _APPLIES.get(use.name)
        name = use.args[at] if at is not None and len(use.args) > at else None
        if not isinstance(name, nodes.Const) or not isinstance(name.value, str):
            return
        is_map = use.name == "map"
        noun = "filter" if is_map else "test"
        known = self._environment.filter_names if is_map else list(self._environment.tests)
        if name.value not in known:
            message = f"there is no {noun} {name.value!r}"
            yield template.problem_at(name, "P001", message, closest(name.value, known))

    def _arity(
        self,
        template: ParsedTemplate,
        use: nodes.Filter | nodes.Test,
        described: str,
        function: Callable[..., object],
    ) -> Iterator[Problem]:
        """Report a filter or test that gets too many arguments, or too few."""
        if use.dyn_args is not None or use.dyn_kwargs is not None or use.name == "fence":
            return
        values = [None] * (1 + hasattr(unwrap(function), "jinja_pass_arg") + len(use.args))
        try:
            names = [each.key for each in cast("list[nodes.Keyword]", use.kwargs)]
            signature(function).bind(*values, **dict.fromkeys(names))
        except TypeError as error:
            yield template.problem_at(use, "P009", f"wrong arguments of the {described}: {error}")

    def _arguments(self, use: nodes.Filter) -> Collection[str]:
        """The keyword arguments of a filter; empty if it accepts any."""
        if use.name == "map":
            return () if use.args else ("attribute", "default")
        parameters = signature(self._environment.filters[use.name]).parameters
        is_open = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        return () if is_open else parameters

    def _extends(self, template: ParsedTemplate) -> Iterator[Problem]:
        top = template.parent
        for tag in template.find_all(nodes.Extends):
            if tag is not top:
                message = "{% extends %} must come once, at the top level of the template"
                yield template.problem_at(tag, "P014", message)
        last = InheritanceChain(template, self._find).base.parent
        names = literal_names(last.template) if last is not None else None
        if top is not None and names and names[0].value == template.name:
            message = f"template {template.name!r} extends itself"
            if last is top:
                message += f"; extend 'builtin/{template.name}' if that is meant"
            yield template.problem_at(top.template, "P014", message)

    def _blocks(self, template: ParsedTemplate) -> Iterator[Problem]:
        seen: set[str] = set()
        for block in template.find_all(nodes.Block):
            if block.name in seen:
                position = template.after(block, rf"\bblock\s+({block.name})\b")
                yield template.problem_at(
                    position, "P014", f"block {block.name!r} is defined twice"
                )
            seen.add(block.name)
        members = InheritanceChain(template, self._find).members
        if template.parent is None or len(members) == 1:
            return
        known = {block.name for each in members[1:] for block in each.find_all(nodes.Block)}
        for block in _outermost(template.tree.body):
            if block.name not in known:
                position = template.after(block, rf"\bblock\s+({block.name})\b")
                message = f"no parent has a block {block.name!r}, so this is never printed"
                yield template.problem_at(position, "P014", message, closest(block.name, known))

    def _block_calls(self, template: ParsedTemplate) -> Iterator[Problem]:
        chain = InheritanceChain(template, self._find)
        for call in template.find_all(nodes.Call):
            name = block_call(call)
            if name == "super":
                inner = _block_around(call, template)
                overrides = chain.overrides.get(inner or "", [])
                if inner is None or overrides[-1].template is template:
                    message = "super() prints the parent's block, and no parent has this block"
                    yield template.problem_at(call.node, "P014", message)
            elif name is not None and name not in chain.overrides:
                position = template.after(call.node, r"(\w+)")
                message = f"there is no block {name!r}"
                yield template.problem_at(position, "P014", message, closest(name, chain.overrides))


def _block_around(call: nodes.Call, template: ParsedTemplate) -> str | None:
    around = (
        block.name
        for block in reversed(template.find_all(nodes.Block))
        if any(call is each for each in block.find_all(nodes.Call))
    )
    return next(around, None)


def _may_be_missing(tag: Reference) -> bool:
    return isinstance(tag, nodes.Include) and tag.ignore_missing


def _outermost(body: Sequence[nodes.Node]) -> Iterator[nodes.Block]:
    for node in body:
        if isinstance(node, nodes.Block):
            yield node
        else:
            yield from _outermost([*node.iter_child_nodes()])


def _exports(module: ParsedTemplate, find: TemplateLookup) -> set[str]:
    """The names that can be imported from a template."""
    names: set[str] = set()
    for member in InheritanceChain(module, find).members:
        names |= _set_in(member.tree.body)
    return {name for name in names if not name.startswith("_")}


def _set_in(body: Sequence[nodes.Node]) -> set[str]:
    names: set[str] = set()
    for node in body:
        match node:
            case nodes.Macro():
                names.add(node.name)
            case nodes.Assign() | nodes.AssignBlock():
                targets = [node.target, *node.target.find_all(nodes.Name)]
                names |= {name.name for name in targets if isinstance(name, nodes.Name)}
            case nodes.Import():
                names.add(node.target)
            case nodes.FromImport():
                names |= {each[1] if isinstance(each, tuple) else each for each in node.names}
            case nodes.If():
                names |= _set_in([*node.body, *node.elif_, *node.else_])
            case _:
                pass
    return names


_ENCLOSING = frozenset(
    (*ROLES, "if", "for", "set", "block", "macro", "call", "filter", "with", "autoescape")
)
_TAGS = (
    *sorted(_ENCLOSING),
    "messages",
    "attach",
    "elif",
    "else",
    "extends",
    "include",
    "import",
    "from",
)
_ENDS = tuple(f"end{tag}" for tag in sorted(_ENCLOSING))
_UNKNOWN = r"Encountered unknown tag '([^']*)'\."
_INNERMOST = r"block that needs to be closed is '([^']*)'"
_ATTRIBUTE = r"takes cache and name, not '(.*)'"
_QUOTES = ("'", '"')
_PLAIN = (
    (r"got '='", "= sets a variable, and only in {% set %}; compare with =="),
    (
        r"(?i)unexpected 'end of|expected (?:an expression|token 'name'), got 'end of",
        "the expression is not finished: a value is missing before its end",
    ),
)
"""What Jinja says of common mistakes, and a plainer text."""
_OTHER_TAGS = {"elseif": "elif", "elsif": "elif", "elif_": "elif", "endelif": "endif"}
_ROLE_TAGS = (
    "the tags of messages are {% system %}, {% user %} and {% assistant %}, each with its end"
)
_TAG_ADVICE: Mapping[str, str] = {
    **dict.fromkeys(("message", "endmessage", "chat", "endchat", "role", "endrole"), _ROLE_TAGS),
    **dict.fromkeys(("break", "continue"), "choose the items before: {% for x in list if ... %}"),
    "do": "a template changes no values; use {% set %} or namespace()",
    "generation": "it marks what a model is trained on; remove it",
    "endgeneration": "it marks what a model is trained on; remove it",
    "trans": "prompts are not translated; write the text, one template for each language",
    "debug": "`teamgraph render` shows what a template gives",
    **dict.fromkeys(
        ("image", "endimage", "audio", "endaudio"),
        "what came with the message is attached by {% attach input.attachments %}",
    ),
}
"""Tags of other template languages, and how to go on."""
_OTHER_EXPRESSIONS = tuple(
    (re.compile(rf"\{{\{{\s*{pattern}"), advice)
    for pattern, advice in (
        ("#(?:if|unless)", "this is Handlebars; write {% if ... %}...{% endif %}"),
        ("#", "this is Handlebars or Mustache; write {% for x in list %}...{% endfor %}"),
        ("/", "this is Handlebars or Mustache; write the end of the block, such as {% endif %}"),
        (">", 'this is Handlebars or Mustache; write {% include "name.jinja" %}'),
        ("\\^", "this is Mustache; write {% if not ... %}...{% endif %}"),
        ("[.$]", "this is a template of Go; write the whole name: {{ input.message }}"),
        (
            "[\"'][^\"']*[\"']\\s*:",
            "braces are doubled for Python's format; JSON has single ones here",
        ),
        ("\\{", "three braces are Handlebars or Mustache; write two: {{ input.message }}"),
    )
)
"""How expressions of other template languages begin, and how to go on."""
_CHARACTER = r"unexpected char (.*) at \d+"


def syntax_problem(source: TemplateSource, error: Exception, lexer: Lexer) -> Problem:
    """The problem of a template or condition that cannot be parsed or compiled."""
    if not isinstance(error, TemplateSyntaxError):
        message = "the template is nested too deep, or a number in it is too long; make it simpler"
        return Problem("P011", message, file=source.file, line=1, column=1)
    message = error.message or ""
    position = position_of(error.lineno)
    innermost = re.search(_INNERMOST, message)
    unknown = re.match(_UNKNOWN, message)
    suggestion: str | None = None
    if (other := _other_language(source.text, position)) is not None:
        message = other
    elif unknown is not None:
        message, suggestion = _unknown_tag(unknown[1], innermost[1] if innermost else None)
    elif innermost is not None:
        message = f"{{% {innermost[1]} %}} is never closed; add {{% end{innermost[1]} %}}"
        position = _opened(source, innermost[1], lexer)
    elif (character := re.fullmatch(_CHARACTER, message)) is not None:
        message = f"unexpected character {character[1]}"
        if character[1][1:-1] in _QUOTES:
            message = f"the quote {character[1][1:-1]} is never closed; add another at its end"
    elif plain := next((text for found, text in _PLAIN if re.search(found, message)), None):
        message = plain
    else:
        attribute = re.search(_ATTRIBUTE, message)
        suggestion = closest(attribute[1], ATTRIBUTES) if attribute else None
        message = (message[:1].lower() + message[1:]).rstrip(".")
    return Problem(
        "P011",
        message,
        file=source.file,
        line=int(position),
        column=position.column,
        suggestion=suggestion,
    )


def _other_language(text: str, position: Position) -> str | None:
    """What to write in place of an expression of another template language at this position."""
    begin = text.rfind("{{", 0, position.offset + 1)
    if begin < 0 or "}}" in text[begin : position.offset]:
        return None
    begin -= text.startswith("{", begin - 1)
    found = (advice for pattern, advice in _OTHER_EXPRESSIONS if pattern.match(text, begin))
    return next(found, None)


def _unknown_tag(tag: str, innermost: str | None) -> tuple[str, str | None]:
    if innermost is not None and tag.startswith("end"):
        message = f"{{% {tag} %}} does not close {{% {innermost} %}}, which is open here"
        return message, closest(tag, (f"end{innermost}",))
    if tag in (*_ENDS, *_TAGS):
        return f"{{% {tag} %}} has no matching open tag", None
    if tag in _TAG_ADVICE:
        return f"unknown tag {tag!r}; {_TAG_ADVICE[tag]}", None
    if tag in _OTHER_TAGS:
        return f"unknown tag {tag!r}", _OTHER_TAGS[tag]
    return f"unknown tag {tag!r}", closest(tag, _ENDS if tag.startswith("end") else _TAGS)


def _opened(source: TemplateSource, tag: str, lexer: Lexer) -> Position:
    """Where the innermost unclosed `tag` opens."""
    opened: list[Position] = []
    tokens = lexer.tokeniter(source.text, source.name)
    significant = ((line, kind, value) for line, kind, value in tokens if kind != "whitespace")
    before = ""
    for line, kind, value in significant:
        if before == "block_begin" and value == tag:
            opened.append(position_of(line))
        elif opened and ((before, value) == ("block_begin", f"end{tag}") or _assigns(tag, value)):
            opened.pop()
        before = kind
    return opened[-1]


def _assigns(tag: str, value: str) -> bool:
    """Whether a token shows that `{% set %}` is the form that needs no end tag."""
    return tag == "set" and value == "="


class _Cursor(Struct, frozen=True):
    """Where the walk is; `inside` names what captures the text there, None for nothing."""

    template: ParsedTemplate
    chain: InheritanceChain
    inside: str | None = None
    within: tuple[str, ...] = ()
    blocks: tuple[BlockOverride, ...] = ()
    override: tuple[str, int] | None = None

    def captured_in(self, inside: str) -> _Cursor:
        return replace(self, inside=inside)


class MessageShape(Struct):
    """What a walk has found: whether it reaches a role tag, and text outside of all of them."""

    has_roles: bool = False
    outside_text: dict[Problem, None] = field(default_factory=dict[Problem, None])
    problems: dict[Problem, None] = field(default_factory=dict[Problem, None])


def message_shape(template: ParsedTemplate, find: TemplateLookup) -> MessageShape:
    """Walk a template and all it reaches for the placement of messages."""
    walk = _Walk(find, ReachableTemplates(find), {})
    walk.template(_Cursor(template, InheritanceChain(template, find)))
    return walk.shape


class _Walk(NodeVisitor):
    """Walk of one template; `shapes` caches the results of parts that were walked before."""

    def __init__(
        self, find: TemplateLookup, reach: ReachableTemplates, shapes: dict[Hashable, MessageShape]
    ) -> None:
        self._find = find
        self._reach = reach
        self._shapes = shapes
        self.shape = MessageShape()

    def template(self, around: _Cursor) -> None:
        parsed = around.template
        chain = InheritanceChain(parsed, self._find)
        cursor = replace(around, chain=chain, within=(*around.within, parsed.name), override=None)
        for member in chain.members[:-1]:
            self._child(member.tree.body, replace(cursor, template=member))
        self._body(chain.base.tree.body, replace(cursor, template=chain.base))

    def visit_Output(self, node: nodes.Output, cursor: _Cursor) -> None:
        if is_replay(node):
            self._role_tag(node, "{% messages %}", cursor)
            return
        if is_attach(node) and cursor.inside != "{% user %}":
            self._misplaced_attach(node, cursor)
            return
        for child in node.nodes:
            self._printed_block(child, cursor)
        self._output(node, cursor)

    def visit_FilterBlock(self, node: nodes.FilterBlock, cursor: _Cursor) -> None:
        role = message_role(node)
        tag = f"{{% {role} %}}" if role else "a {% filter %} block"
        if role:
            self._role_tag(node, tag, cursor)
        else:
            self._output(node, cursor)
        self._body(node.body, cursor.captured_in(tag))

    def visit_Macro(self, node: nodes.Macro, cursor: _Cursor) -> None:
        self._body(node.body, cursor.captured_in("a macro"))

    def visit_AssignBlock(self, node: nodes.AssignBlock, cursor: _Cursor) -> None:
        self._body(node.body, cursor.captured_in("a {% set %} block"))

    def visit_CallBlock(self, node: nodes.CallBlock, cursor: _Cursor) -> None:
        self._output(node, cursor)
        self._body(node.body, cursor.captured_in("a {% call %} block"))

    def visit_Block(self, node: nodes.Block, cursor: _Cursor) -> None:
        self._override(node.name, 0, cursor)

    def visit_Include(self, node: nodes.Include, cursor: _Cursor) -> None:
        for parsed in self._named(node.template, cursor):
            part = self._part(replace(cursor, template=parsed))
            if part.has_roles:
                self.shape.outside_text |= part.outside_text
            elif part.outside_text:
                message = f"template {parsed.name!r} prints text outside of every message: "
                message += "include it inside {% system %} or {% user %}"
                self.shape.outside_text[
                    cursor.template.problem_at(node.template, "P012", message)
                ] = None

    def visit_Import(self, node: nodes.Import, cursor: _Cursor) -> None:
        self._import(node, cursor)

    def visit_FromImport(self, node: nodes.FromImport, cursor: _Cursor) -> None:
        self._import(node, cursor)

    def _import(self, node: nodes.Import | nodes.FromImport, cursor: _Cursor) -> None:
        for parsed in self._named(node.template, cursor):
            self._part(replace(cursor.captured_in("a template that is imported"), template=parsed))

    def _part(self, cursor: _Cursor) -> MessageShape:
        """The shape of a template that is rendered here, cached by equivalent cursor."""
        reached = self._reach.names_from(cursor.template)
        within = frozenset(cursor.within) & reached
        blocks = frozenset(each for each in cursor.blocks if each.template.name in reached)
        key = (cursor.template, cursor.inside, within, blocks)
        if key not in self._shapes:
            part = _Walk(self._find, self._reach, self._shapes)
            part.template(cursor)
            self._shapes[key] = part.shape
        self.shape.has_roles |= self._shapes[key].has_roles
        self.shape.problems |= self._shapes[key].problems
        return self._shapes[key]

    def _child(self, body: Iterable[nodes.Node], cursor: _Cursor) -> None:
        """The top level of a template that extends another: nothing there is printed."""
        for node in body:
            if isinstance(node, nodes.If):
                self._child((*node.body, *node.elif_, *node.else_), cursor)
            elif isinstance(node, _SILENT):
                self.visit(node, cursor)
            elif not isinstance(node, nodes.Block | nodes.Extends):
                self._output_in_child(node, cursor)

    def _output_in_child(self, node: nodes.Node, cursor: _Cursor) -> None:
        if (position := _printed(node, cursor.template)) is not None:
            message = "this is outside the blocks of a template that extends another: "
            problem = cursor.template.problem_at(position, "P015", message + "move it into a block")
            self.shape.problems[problem] = None

    def _body(self, body: Iterable[nodes.Node], cursor: _Cursor) -> None:
        for node in body:
            self.visit(node, cursor)

    def _role_tag(self, node: nodes.Node, tag: str, cursor: _Cursor) -> None:
        self.shape.has_roles = True
        if cursor.inside is not None:
            message = (
                f"{tag} is inside {cursor.inside}: messages cannot be nested, close that first"
            )
            self.shape.problems[cursor.template.problem_at(node, "P012", message)] = None

    def _misplaced_attach(self, node: nodes.Node, cursor: _Cursor) -> None:
        """Only a user's message has attachments; without role tags, the whole text is one."""
        where = f"inside {cursor.inside}" if cursor.inside else "outside of every message"
        message = f"{{% attach %}} is {where}: put it into {{% user %}}"
        problem = cursor.template.problem_at(node, "P012", message)
        found = self.shape.problems if cursor.inside else self.shape.outside_text
        found[problem] = None

    def _output(self, node: nodes.Node, cursor: _Cursor) -> None:
        if cursor.inside is None and (position := _printed(node, cursor.template)) is not None:
            message = (
                "this text is outside of every message: put it into {% system %} or {% user %}"
            )
            self.shape.outside_text[cursor.template.problem_at(position, "P012", message)] = None

    def _printed_block(self, node: nodes.Expr, cursor: _Cursor) -> None:
        block = block_call(node)
        if block == "super" and cursor.override is not None:
            name, level = cursor.override
            self._override(name, level + 1, cursor)
        elif block is not None:
            self._override(block, 0, cursor)

    def _override(self, name: str, level: int, cursor: _Cursor) -> None:
        overrides = cursor.chain.overrides.get(name, [])
        if level >= len(overrides) or (override := overrides[level]) in cursor.blocks:
            return
        blocks = (*cursor.blocks, override)
        inner = replace(
            cursor, template=override.template, blocks=blocks, override=(override.block.name, level)
        )
        self._body(override.block.body, inner)

    def _named(self, template: nodes.Expr, cursor: _Cursor) -> list[ParsedTemplate]:
        names = [name.value for name in literal_names(template) or ()]
        found = [self._find(name) for name in names if name not in cursor.within]
        return [each for each in found if isinstance(each, ParsedTemplate)]


_SILENT = (nodes.Assign, nodes.AssignBlock, nodes.Macro, nodes.Import, nodes.FromImport)
"""What may be at the top level of a template that extends another."""


def _printed(node: nodes.Node, template: ParsedTemplate) -> Position | None:
    """Where a statement first prints something, None if nothing but white space."""
    if not isinstance(node, nodes.Output):
        return position_of(node.lineno)
    for child in node.nodes:
        if not isinstance(child, nodes.TemplateData):
            if block_call(child) is None:
                return start_position(child)
        elif text := child.data.lstrip():
            offset = position_of(child.lineno).offset + len(child.data) - len(text)
            return LineIndex(template.source.text).position(offset)
    return None


_SUSPECT = re.compile(
    r"""^(?![ \t]*\{[%#]).*[%#]\}$           # text before a tag,
      | [%#]\}(?!\{[%#]).+[%#]\}$            # or between two,
      | ^[ \t]*\{[%#]-.*[%#]\}.+[%#]\}$      # or two, the first of which joins the line above
    """,
    re.MULTILINE | re.VERBOSE,
)
"""A line with a tag at its end, after something that is printed; rare."""
_PRINTS_NOTHING = frozenset(
    (
        *(*ROLES, *(f"end{role}" for role in ROLES), "messages", "attach"),
        *("set", "endset", "macro", "endmacro"),
    )
)
_TAG_ENDS = frozenset(("block_end", "comment_end"))
_ENDS_MESSAGE = re.compile(r"\n|\s*\Z|\s*\{%[-+]?\s*end(?:system|user|assistant)\b")
"""Where nothing is lost: before a blank line, and at the end of a message."""


def lost_line_breaks(template: ParsedTemplate, lexer: Lexer) -> Iterator[Problem]:
    """A note for each tag at the end of a line of text, whose line break is not printed."""
    text = template.source.text
    if not _SUSPECT.search(text):
        return
    for tag, at, after in _line_ends(lexer.tokeniter(text, template.name)):
        if tag not in _PRINTS_NOTHING and not _ENDS_MESSAGE.match(text, after):
            yield _note(template, at)


def _line_ends(tokens: Iterable[tuple[int, str, str]]) -> Iterator[tuple[str, Position, int]]:
    """The tags that swallow the line break of a line of text, with the offset of the next line."""
    prints, tag, at = False, "", START
    for position, kind, value in tokens:
        if kind == "data":
            last = value.rpartition("\n")[2]
            prints = bool(last.strip()) or (prints and "\n" not in value)
        elif kind == "variable_begin":
            prints = True
        elif kind in ("block_begin", "comment_begin"):
            tag, at = "", position_of(position)
        elif kind == "name":
            tag = tag or value
        elif kind in _TAG_ENDS and value[0] != "-" and value[-1] == "\n":
            if prints:
                yield tag, at, position_of(position).offset + len(value)
            prints = False


_ROLE_LINE = r"^[ \t]*(?:#[ \t]*)?(system|developer|user|assistant|function|tool)[ \t]*:[ \t]*$"
_FRONT_MATTER = r"\A---[ \t]*\n(?:.*\n)*?---[ \t]*$"
_ONE_BRACE = r"(?<![\w{\\$])\{(input|question|query|message|context|history|chat_history)\}(?!\})"
_TEXT_OF_OTHERS = re.compile(
    f"(?P<role>{_ROLE_LINE})|(?P<matter>{_FRONT_MATTER})|(?P<brace>{_ONE_BRACE})",
    re.MULTILINE | re.IGNORECASE,
)
"""What promptflow, prompty and Python's `format` give a meaning, and what is sent as text here."""


def text_of_others(template: ParsedTemplate, lexer: Lexer) -> Iterator[Problem]:
    """A warning for each part of the text that another tool would not send as it is."""
    text = template.source.text
    if not _TEXT_OF_OTHERS.search(text):
        return
    tokens = lexer.tokeniter(text, template.name)
    plain = [
        (position_of(at).offset, position_of(at).offset + len(value))
        for at, kind, value in tokens
        if kind == "data"
    ]
    lines = LineIndex(text)
    for found in _TEXT_OF_OTHERS.finditer(text):
        if any(start <= found.start() and found.end() <= end for start, end in plain):
            written = found[0].strip().partition("\n")[0]
            at = lines.position(found.end() - len(found[0].lstrip()))
            problem = template.problem_at(at, "P112", _advice_on_text(found, written))
            yield replace(problem, severity="warning")


def _advice_on_text(found: re.Match[str], written: str) -> str:
    if found["matter"]:
        return (
            "this front matter is sent as text; move the model and its parameters to the graph "
            "file (`model: {id: ..., temperature: ...}`), and remove the rest"
        )
    if found["brace"]:
        return f"{written} is sent as it is; write {{{{ input.message }}}}, or what is meant"
    role = written.strip("# \t:").lower()
    if role in ("tool", "function"):
        return f"{written!r} is sent as text; calls of tools come with {{% messages %}}"
    tag = "system" if role == "developer" else role
    return (
        f"{written!r} is sent as text, it begins no message; put the message into "
        f"{{% {tag} %}}...{{% end{tag} %}}"
    )


def _note(template: ParsedTemplate, at: Position) -> Problem:
    message = "the line break after this tag is not printed, so the next line continues this one; "
    message += "write +%} to keep it, or give the tag a line of its own"
    return replace(template.problem_at(at, "P111", message), severity="note")
