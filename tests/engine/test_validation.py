"""What is wrong in a declaration is said once, where it stands, with what would be right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast

import pytest
from annotated_types import Gt
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType, TypedDict

from teamgraph import JSON, Budget, Graph, Runner
from teamgraph.errors import DefinitionError, InputError, Problem
from teamgraph.kinds import Declared, Node


class Inner(Declared):
    """Declared inside another."""

    depth: int = Field(ge=0, lt=10)


Size = TypeAliasType("Size", Annotated[int, Gt(3)] | Inner | None)


class Plain(BaseModel):
    """A model that is no declaration."""

    width: Annotated[float, Field(gt=0, le=2.5)]


class Point(TypedDict):
    """A mapping that is no model."""

    x: Annotated[int, Gt(0)]


class Sample(Declared):
    """One field of each sort."""

    inner: Inner | None = None
    inners: Sequence[Inner] = ()
    plain: Plain | None = None
    either: Annotated[float, Gt(0.5)] | Inner | None = None
    many: Mapping[str, list[str | Inner]] = {}
    counts: str | dict[str, int] = ""
    shape: Literal["round", "square"] | None = None
    size: Size = None
    numbers: dict[int, bool] | None = None
    value: JSON = None
    call: Callable[..., Any] | bool = True
    pair: tuple[str, int] | set[str] | Literal[3] = 3
    price: float = Field(default=1, lt=5)
    kind: type[int] | bytes = int
    point: Point | None = None
    words: list[Any] | str = ""


def wrong(**fields: object) -> list[Problem]:
    with pytest.raises(DefinitionError) as caught:
        Sample(**fields)  # type: ignore[arg-type]  # wrong on purpose
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"inner": {"depth": -1}}, ("inner", "depth"), "depth: must be 0 or more, not -1"),
        ({"inner": {"depth": 10}}, ("inner", "depth"), "depth: must be less than 10, not 10"),
        ({"inner": {}}, ("inner", "depth"), "'depth' is required"),
        ({"inner": 3}, ("inner",), "inner: must be a mapping of keys to values, not 3"),
        ({"inners": [{"depth": 1}, {"depth": "x"}]}, ("inners", 1, "depth"),
         "depth: must be a whole number, not 'x'"),
        ({"plain": {"width": 3}}, ("plain", "width"), "plain.width: must be 2.5 or less, not 3"),
        ({"plain": {}}, ("plain", "width"), "'width' is required"),
        ({"either": 0.5}, ("either",), "either: must be a number more than 0.5, or {depth}, "
         "not 0.5"),
        ({"either": {"depth": -1}}, ("either", "depth"), "depth: must be 0 or more, not -1"),
        ({"many": {"a": ["x", 3]}}, ("many", "a", 1), "many.a[1]: must be text, or {depth}, "
         "not 3"),
        ({"many": {3: []}}, ("many", 3), "many[3]: must be text, not 3"),
        ({"counts": {"a": "x"}}, ("counts", "a"), "counts.a: must be a whole number, not 'x'"),
        ({"counts": 3}, ("counts",), "counts: must be text, or a mapping of keys to values, "
         "not 3"),
        ({"shape": None, "size": 3}, ("size",), "size: must be a whole number more than 3, "
         "or {depth}, not 3"),
        ({"numbers": {"x": True}}, ("numbers", "x"), "numbers.x: must be a whole number, "
         "not 'x'"),
        ({"numbers": {1: "maybe"}}, ("numbers", 1), "numbers[1]: must be true or false, "
         "not 'maybe'"),
        ({"value": {"a": [object()]}}, ("value",), "value: must be text, a number, true, false, "
         "null, a list or a mapping, not a object"),
        ({"call": 3.5}, ("call",), "call: must be a function, or true or false, not 3.5"),
        ({"pair": 4}, ("pair",), "pair: must be a list, or 3, not 4"),
        ({"price": float("nan")}, ("price",), "price: must be a finite number, not nan"),
        ({"price": "x" * 80}, ("price",), "price: must be a number"),
        ({"price": [1]}, ("price",), "price: must be a number, not a list"),
        ({"kind": 3}, ("kind",), "kind: must be a type, or bytes, not 3"),
        ({"point": {"x": 0}}, ("point", "x"), "point.x: must be more than 0, not 0"),
        ({"words": 3}, ("words",), "words: must be a list, or text, not 3"),
        ({"words": None}, ("words",), "words: must be a list, or text, not null"),
        ({"inners": 5}, ("inners",), "inners: must be a list, not 5"),
        ({"many": 5}, ("many",), "many: must be a mapping of keys to values, not 5"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_problem(
    fields: dict[str, object], path: tuple[str | int, ...], message: str
) -> None:
    (problem,) = wrong(**fields)
    assert (problem.path, problem.message) == (path, message)
    assert problem.code in ("G002", "G003")


def test_a_word_that_was_nearly_right_is_named() -> None:
    (problem,) = wrong(shape="rond")
    assert problem.message == "shape: must be 'round' or 'square', not 'rond'"
    assert problem.suggestion == "round"


def test_everything_is_told_at_once_in_the_order_of_the_fields() -> None:
    problems = wrong(shape="x", inner={"depth": -1, "dept": 1}, price="x", unknown=1)
    assert [problem.path for problem in problems] == [
        ("inner", "depth"),
        ("inner", "dept"),
        ("shape",),
        ("price",),
        ("unknown",),
    ]


def test_a_key_that_is_near_no_other_lists_what_there_is() -> None:
    (problem,) = wrong(inner={"depth": 1, "xyz": 1})
    assert problem.message == "unknown key 'xyz'; known keys: depth"
    assert (problem.on_key, problem.suggestion) == (True, None)


def test_a_mapping_is_never_shown_in_full() -> None:
    (problem,) = wrong(shape={"secret": "abc"})
    assert problem.message == "shape: must be 'round' or 'square', not a mapping"


@pytest.mark.parametrize("key", ["api_key", "token", "db_passwd", "aws_secret_id", "apiKey"])
def test_a_key_that_holds_a_secret_is_told_apart(key: str) -> None:
    (problem,) = wrong(**{key: "abc"})
    assert problem.code == "G004"
    assert "abc" not in problem.message


def test_a_declaration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="is immutable, so its"):
        Inner(depth=1).depth = 2  # type: ignore[misc]  # what this is about


class Strict(Declared):
    """Whose model as a whole may not hold."""

    model_config = ConfigDict(str_to_lower=True)
    a: str = ""

    def model_post_init(self, context: Any, /) -> None:  # noqa: ANN401  pydantic's signature
        if self.a == "no":
            raise ValueError("a and b do not go together.")


def test_a_whole_that_does_not_hold_has_no_path() -> None:
    with pytest.raises(DefinitionError) as caught:
        Strict(a="NO")
    (problem,) = caught.value.problems
    assert (problem.path, problem.message) == ((), "a and b do not go together")


class Counted(Node):
    """A kind of one's own, with a number and a mapping."""

    count: int = 0
    more: Any = None


LONG = 10**5000


@pytest.mark.parametrize(
    ("declare", "path", "what"),
    [
        (lambda: Counted(count=LONG), ("count",), ""),
        (lambda: Counted(count=-LONG), ("count",), ""),
        (lambda: Counted(timeout=LONG), ("timeout",), ""),
        (lambda: Counted(more={"a": [{}, (1, LONG)]}), ("more", "a", 1, 1), ""),
        (lambda: Counted(more={"a": {LONG: 1}}), ("more", "a"), "a key is "),
        (lambda: Budget(tokens=-LONG), ("tokens",), ""),
        (lambda: Graph(name="x", nodes={}, state={"a": LONG}), ("state", "a"), ""),
        (lambda: Graph(name="x", nodes=cast("Any", {LONG: Counted()})), ("nodes",), "a key is "),
    ],
)
def test_an_integer_that_python_does_not_write_is_refused_anywhere(
    declare: Callable[[], object], path: tuple[str | int, ...], what: str
) -> None:
    with pytest.raises(DefinitionError) as caught:
        declare()
    (problem,) = caught.value.problems
    assert problem.path == path
    assert problem.message.endswith(f": {what}an integer of more than 4300 digits; make it text")


def test_a_value_that_contains_itself_is_no_endless_search() -> None:
    itself: list[object] = []
    itself.append(itself)
    assert Counted(more=itself).more is itself


def test_an_id_that_python_does_not_write_is_refused() -> None:
    graph = Graph(name="x", nodes={"a": Counted()})
    with pytest.raises(InputError, match="session_id is an integer of more than 4300 digits"):
        Runner(graph).run("x", session_id=cast("str", LONG))
