"""No construct prints an object or None, or fails, with any kind of value that the checks accept."""

from __future__ import annotations

import os
from datetime import date, datetime, time, timedelta
from random import Random

import pytest
from jinja2 import nodes
from jinja2.compiler import operators
from jinja2.sandbox import modifies_known_mutable

from teamgraph.engine.prompts.environment import PromptEnvironment
from tests.soundness.checks import accepted, failure
from tests.soundness.constructs import FILTERS, METHODS, TESTS, applied, constructs
from tests.soundness.world import WORLDS
from tests.soundness.writer import CONSTRUCTS, Writer

IS_LONG = "TEAMGRAPH_SOUNDNESS" in os.environ
ENVIRONMENT = PromptEnvironment(lambda _: None)
INTERNAL = {
    *(nodes.NSRef, nodes.TemplateData, nodes.EnvironmentAttribute),
    *(nodes.ExtensionAttribute, nodes.ImportedName, nodes.InternalName, nodes.MarkSafe),
    *(nodes.MarkSafeIfAutoescape, nodes.ContextReference, nodes.DerivedContextReference),
}
"""Expressions that no template can write as such."""
MODIFIED: dict[type, object] = {list: [], dict: {}}


def test_no_filter_is_missing() -> None:
    assert sorted(FILTERS) == ENVIRONMENT.filter_names


def test_no_test_is_missing() -> None:
    assert sorted(TESTS) == sorted(ENVIRONMENT.tests)


@pytest.mark.parametrize("kind", [str, list, tuple, dict, int, float])
def test_no_method_is_missing(kind: type) -> None:
    public = [name for name in dir(kind) if not name.startswith("_")]
    empty = MODIFIED.get(kind)
    allowed = {n for n in public if empty is None or not modifies_known_mutable(empty, n)}
    assert allowed == set(METHODS[kind])


@pytest.mark.parametrize("kind", [bytes, datetime, date, time, timedelta])
def test_every_other_attribute_is_refused(kind: type) -> None:
    example = {bytes: "'a'.encode()", datetime: "now", date: "now.date()", time: "now.time()"}
    public = {name for name in dir(kind) if not name.startswith("_")} - set(METHODS[kind])
    of = example.get(kind, "(now - now)")
    assert [name for name in public if accepted({"t": f"{{% set it = {of}.{name} %}}"})] == []


def test_no_operator_is_missing() -> None:
    source = "".join(f"{{{{ {construct} }}}}" for construct in constructs())
    tree = ENVIRONMENT.parse(source)
    written = {type(node) for node in tree.find_all(nodes.Expr)}
    compared = {operand.op for operand in tree.find_all(nodes.Operand)}
    every = {each for each in vars(nodes).values() if isinstance(each, type)}
    every = {each for each in every if issubclass(each, nodes.Expr) and not each.abstract}
    assert every - written == INTERNAL
    assert compared == set(operators)
    assert {node.name for node in tree.find_all(nodes.Name)} >= set(ENVIRONMENT.globals)


REFUSED = {"X | attr(input.message)", "{}.fromkeys(['a'], X)"}
"""Constructs that the checks refuse whatever they are applied to."""


def test_the_random_templates_use_every_construct() -> None:
    chosen = CONSTRUCTS if IS_LONG else [*Random(7).sample(CONSTRUCTS, 40), *REFUSED]
    unused = {each for each in chosen if not Writer(Random(each), construct=0).use(each)}
    assert unused == REFUSED


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_what_is_accepted_prints_only_data(construct: str) -> None:
    expressions = [*applied(construct)]
    if not IS_LONG:
        expressions = Random(construct).sample(expressions, min(len(expressions), 8))
    failures = []
    for expression in expressions:
        files = {"t": f"{{{{ {expression} }}}}"}
        if accepted(files):
            worlds = WORLDS[: 12 if IS_LONG else 3]
            found = {one for world in worlds if (one := failure(files, world))}
            failures += [f"{expression}: {one}" for one in sorted(found)]
    assert failures == []
