"""What does not hold in a template by itself, and in the parents, includes and imports it names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from inspect import signature
from typing import cast

from jinja2 import nodes

from ...errors import Problem, closest
from ..environment import PromptEnvironment
from ..filters import FENCE_TAG
from .tree import (
    Family,
    Find,
    Parsed,
    Reference,
    block_call,
    is_optional,
    named,
    references,
    start_of,
)


class Checker:
    """Finds the problems of one template at a time; `near` finds the template that was meant."""

    def __init__(
        self, environment: PromptEnvironment, find: Find, near: Callable[[str], str | None]
    ) -> None:
        self._environment = environment
        self._find = find
        self._near = near

    def check(self, template: Parsed) -> Iterator[Problem]:
        """The problems of this template's own text."""
        if template.problem is not None:
            yield template.problem
            return
        for tag in references(template):
            yield from self._reference(template, tag)
        for test in template.every(nodes.Test):
            yield from self._test(template, test)
        for use in template.every(nodes.Filter):
            yield from self._filter(template, use)
        for modifier in template.every(nodes.ScopedEvalContextModifier):
            told = "{% autoescape %} is for web pages, prompts are plain text: take it out"
            yield template.problem_at(modifier, "P011", told)
        yield from self._extends(template)
        yield from self._blocks(template)
        yield from self._block_calls(template)

    def required(self, template: Parsed) -> Iterator[Problem]:
        """The blocks that a parent requires and that this template does not give."""
        for name, versions in Family(template, self._find).versions.items():
            if not versions[0].block.required:
                continue
            place: nodes.Node = template.parent.template if template.parent else versions[0].block
            told = f"block {name!r} is required: give it with {{% block {name} %}}"
            yield template.problem_at(place, "P014", told)

    def _reference(self, template: Parsed, tag: Reference) -> Iterator[Problem]:
        if isinstance(tag, nodes.Include) and not tag.with_context:
            told = "an include sees the names around it: take out 'without context'"
            yield template.problem_at(tag, "P013", told)
        constants = named(tag.template)
        if constants is None:
            told = "a template is named at run time: write its name, or a list of names, as text"
            yield template.problem_at(start_of(tag.template), "P013", told)
            return
        missing = [name for name in constants if self._find(name.value) is None]
        if is_optional(tag) and (len(missing) < len(constants) or _may_be_missing(tag)):
            return
        for name in missing:
            told = f"there is no template {name.value!r}"
            yield template.problem_at(name, "P001", told, self._near(name.value))
        if isinstance(tag, nodes.FromImport) and not missing:
            yield from self._imported(template, tag, constants)

    def _imported(
        self, template: Parsed, tag: nodes.FromImport, constants: Sequence[nodes.Const]
    ) -> Iterator[Problem]:
        for constant in constants:
            module = self._find(constant.value)
            if not isinstance(module, Parsed) or module.problem is not None:
                continue
            exported = _exports(module, self._find)
            for each in tag.names:
                name = each[0] if isinstance(each, tuple) else each
                if name not in exported:
                    place = template.after(tag, rf"\bimport\b.*?\b({name})\b")
                    told = f"template {module.name!r} has no {name!r}"
                    yield template.problem_at(place, "P001", told, closest(name, exported))

    def _test(self, template: Parsed, use: nodes.Test) -> Iterator[Problem]:
        if use.name not in self._environment.tests:
            place = template.after(use, rf"\bis\b.*?\b({re.escape(use.name)})\b")
            near = closest(use.name, self._environment.tests)
            yield template.problem_at(place, "P001", f"there is no test {use.name!r}", near)

    def _filter(self, template: Parsed, use: nodes.Filter) -> Iterator[Problem]:
        if use.name not in self._environment.filters:
            near = closest(use.name, self._environment.filter_names)
            yield template.problem_at(use, "P001", f"there is no filter {use.name!r}", near)
            return
        known = self._arguments(use)
        for keyword in cast("list[nodes.Keyword]", use.kwargs) if known else ():
            if keyword.key not in known:
                place = template.after(use, rf"\b({re.escape(keyword.key)})\s*=")
                told = f"filter {use.name!r} has no argument {keyword.key!r}"
                yield template.problem_at(place, "P009", told, closest(keyword.key, known))
        if use.name == "fence":
            tag = use.args[0] if use.args else None
            if tag is None and not use.kwargs:
                told = 'fence needs the name of its tag, as in fence("document")'
                yield template.problem_at(use, "P017", told)
            elif isinstance(tag, nodes.Const) and not FENCE_TAG.fullmatch(str(tag.value)):
                told = f"fence tag {tag.value!r}: use small letters, digits, '_' and '-' only"
                yield template.problem_at(tag, "P017", told)

    def _arguments(self, use: nodes.Filter) -> Collection[str]:
        """What the filter can be given by name; empty where nobody can tell."""
        if use.name == "map":
            return () if use.args else ("attribute", "default")
        parameters = signature(self._environment.filters[use.name]).parameters
        is_open = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        return () if is_open else parameters

    def _extends(self, template: Parsed) -> Iterator[Problem]:
        top = template.parent
        for tag in template.every(nodes.Extends):
            if tag is not top:
                told = "{% extends %} stands once, at the top and outside of every other tag"
                yield template.problem_at(tag, "P014", told)
        last = Family(template, self._find).base.parent
        names = named(last.template) if last is not None else None
        if top is not None and names and names[0].value == template.name:
            told = f"template {template.name!r} extends itself in the end"
            if last is top:
                told += f"; extend 'builtin/{template.name}' if that is meant"
            yield template.problem_at(top.template, "P014", told)

    def _blocks(self, template: Parsed) -> Iterator[Problem]:
        seen: set[str] = set()
        for block in template.every(nodes.Block):
            if block.name in seen:
                place = template.after(block, rf"\bblock\s+({block.name})\b")
                yield template.problem_at(place, "P014", f"block {block.name!r} is there twice")
            seen.add(block.name)
        members = Family(template, self._find).members
        if template.parent is None or len(members) == 1:
            return
        known = {block.name for each in members[1:] for block in each.every(nodes.Block)}
        for block in _outermost(template.tree.body):
            if block.name not in known:
                place = template.after(block, rf"\bblock\s+({block.name})\b")
                told = f"no parent has a block {block.name!r}, so this is never shown"
                yield template.problem_at(place, "P014", told, closest(block.name, known))

    def _block_calls(self, template: Parsed) -> Iterator[Problem]:
        family = Family(template, self._find)
        for call in template.every(nodes.Call):
            name = block_call(call)
            if name == "super":
                inner = _block_around(call, template)
                versions = family.versions.get(inner or "", [])
                if inner is None or versions[-1].template is template:
                    told = "super() says what a parent's block says, and there is none"
                    yield template.problem_at(call.node, "P014", told)
            elif name is not None and name not in family.versions:
                place = template.after(call.node, r"(\w+)")
                told = f"there is no block {name!r}"
                yield template.problem_at(place, "P014", told, closest(name, family.versions))


def _block_around(call: nodes.Call, template: Parsed) -> str | None:
    around = (
        block.name
        for block in reversed(template.every(nodes.Block))
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


def _exports(module: Parsed, find: Find) -> set[str]:
    """The names that can be imported from a template."""
    names: set[str] = set()
    for member in Family(module, find).members:
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
