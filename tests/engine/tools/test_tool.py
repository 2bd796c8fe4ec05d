"""A function as a tool: what the model is told of it, how its arguments are read, what it gives."""

# ruff: noqa: ANN401  models, tools and stores say what they like
from __future__ import annotations

import functools
import json
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from teamgraph import MemoryStore, SessionKey, ToolContext, tool
from teamgraph.engine.session.history import StoredPast
from teamgraph.engine.tools.tool import BadArguments, Tool, ToolOptions, read_docstring
from teamgraph.errors import DefinitionError
from tests.shop import PRICE_OF, TILL, Till, price, put_in_cart
from tests.teams import wait_for


def context() -> ToolContext:
    past = StoredPast(MemoryStore(), SessionKey("ann", "s"), until=0)
    return ToolContext("ann", "s", "r", "n", session_state={}, past=past)


def given(function: Callable[..., object], arguments: str = "{}") -> str:
    tool = Tool.of(function)
    return wait_for(tool.call(tool.read(arguments), context()))


def refused(function: Callable[..., object]) -> str:
    with pytest.raises(DefinitionError) as caught:
        Tool.of(function)
    return str(caught.value)


def test_the_model_is_told_name_purpose_and_arguments() -> None:
    assert Tool.of(price).offered() == {
        "type": "function",
        "function": {
            "name": "price",
            "description": "Look up what something costs.",
            "parameters": {
                "type": "object",
                "properties": {
                    "item": {"type": "string", "description": "What to buy."},
                    "count": {
                        "type": "integer",
                        "default": 1,
                        "description": "How many of it.",
                    },
                },
                "required": ["item"],
                "additionalProperties": False,
            },
        },
    }


def test_a_tool_without_arguments_and_docstring_takes_an_empty_object() -> None:
    def now() -> str: ...

    tool = Tool.of(now)
    assert tool.description == ""
    assert tool.parameters == {"type": "object", "properties": {}, "additionalProperties": False}
    assert tool.read("") == tool.read(" {} ") == {}


def test_types_and_bounds_are_told_and_held() -> None:
    class Place(BaseModel):
        town: str

    def book(
        place: Place,
        kind: Literal["room", "table"],
        nights: Annotated[int, Field(ge=1, description="One or more.")] = 1,
        on: date | None = None,
    ) -> str: ...

    # Types that are defined inside a function can be read only from the function itself.
    book.__annotations__ |= {
        "place": Place,
        "kind": Literal["room", "table"],
        "nights": Annotated[int, Field(ge=1, description="One or more.")],
        "on": date | None,
    }
    tool = Tool.of(book)
    properties: Any = tool.parameters["properties"]
    assert properties["kind"] == {"enum": ["room", "table"], "type": "string"}
    assert properties["nights"]["minimum"] == 1
    assert properties["nights"]["description"] == "One or more."
    assert tool.read('{"place": {"town": "Rome"}, "kind": "room", "on": "2026-01-02"}') == {
        "place": Place(town="Rome"),
        "kind": "room",
        "on": date(2026, 1, 2),
    }
    with pytest.raises(BadArguments) as caught:
        tool.read('{"place": {}, "kind": "cellar", "nights": 0, "cat": 1}')
    told = str(caught.value)
    assert "place.town: Field required" in told
    assert "kind: Input should be 'room' or 'table'" in told
    assert "nights: Input should be greater than or equal to 1" in told
    assert "cat: Extra inputs are not permitted" in told


@pytest.mark.parametrize("text", ["{", "[1]", "3", '"item"'])
def test_what_is_no_json_object_is_no_arguments(text: str) -> None:
    with pytest.raises(BadArguments):
        Tool.of(price).read(text)


def test_names_that_a_pydantic_model_has_itself_can_be_parameters() -> None:
    def odd(schema: str, copy: int, _hidden: bool, model_config: str = "") -> str:
        return f"{schema}{copy}{_hidden}{model_config}"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert given(odd, '{"schema": "a", "copy": 1, "_hidden": true}') == "a1True"


def test_the_functions_own_default_holds_where_the_model_says_nothing() -> None:
    nothing = object()

    def look(at: str = nothing) -> bool:  # type: ignore[assignment]  # no JSON can say it
        return at is nothing

    assert Tool.of(look).parameters["properties"] == {"at": {"type": "string"}}
    assert given(look) == "true"


def test_the_context_is_filled_in_and_never_told() -> None:
    def who(context: ToolContext, maybe: ToolContext | None = None) -> str:
        assert maybe is context
        return f"{context.user_id} in {context.session_id}"

    assert Tool.of(who).parameters["properties"] == {}
    with pytest.raises(BadArguments, match="context: Extra inputs"):
        Tool.of(who).read('{"context": {"user_id": "eve"}}')
    assert given(who) == "ann in s"


def test_a_sync_function_runs_in_a_thread_and_an_async_one_does_not() -> None:
    def sync() -> int:
        return threading.get_ident()

    async def own() -> int:
        return threading.get_ident()

    assert given(sync) != str(threading.get_ident())
    assert given(own) == str(threading.get_ident())


def test_what_is_awaitable_is_awaited_whoever_made_it() -> None:
    async def later() -> str:
        return "later"

    def sync() -> Awaitable[str]:
        return later()

    assert given(sync) == "later"


def test_a_result_that_is_no_text_becomes_json() -> None:
    @dataclass
    class Found:
        name: str
        on: date

    def value(result: Any) -> Callable[..., object]:
        def tool() -> object:
            return result

        return tool

    assert given(value("été")) == "été"
    assert given(value(None)) == "null"
    assert given(value({"a": [1, "é"]})) == '{"a": [1, "é"]}'
    assert json.loads(given(value([Found("x", date(2026, 1, 2))]))) == [
        {"name": "x", "on": "2026-01-02"}
    ]
    for wrong in (object(), float("nan")):
        with pytest.raises(TypeError, match="that cannot be written as JSON"):
            given(value(wrong))


def test_a_thread_that_stops_iterating_is_an_error_and_no_endless_wait() -> None:
    def over() -> str:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        given(over)


def test_a_method_of_an_object_is_a_tool_too() -> None:
    assert given(TILL.count, '{"coin": 2}') == "14"


def test_an_object_that_can_be_called_is_a_tool_of_the_name_of_its_class() -> None:
    class OldWords:
        """Say old words."""

        def __call__(self) -> str:
            return "whilom"

    assert given(PRICE_OF, '{"item": "tea"}') == "6"
    (tool,) = Tool.of_object(PRICE_OF)
    assert (tool.name, tool.description) == ("price_of", "Look up a price.")
    assert Tool.of(OldWords()).description == "Say old words."


def test_each_public_method_of_a_toolkit_is_a_tool() -> None:
    class Drawer(Till, BaseModel):
        @staticmethod
        def lock() -> str: ...

        def count(self, coin: int = 1) -> int:
            """Count in the drawer."""
            return coin

    assert [each.name for each in Tool.of_object(TILL)] == ["count", "pay"]
    count, pay, lock = Tool.of_object(Drawer(), ToolOptions(timeout=5))
    assert (count.description, lock.name) == ("Count in the drawer.", "lock")
    assert pay.options == ToolOptions("arguments.amount > 100", timeout=5)


def test_a_pydantic_model_is_a_result() -> None:
    class Found(BaseModel):
        name: str
        on: date

    def find() -> Found:
        return Found(name="x", on=date(2026, 1, 2))

    find.__annotations__["return"] = Found
    assert given(find) == '{"name": "x", "on": "2026-01-02"}'


def test_two_tools_are_equal_if_their_functions_are() -> None:
    assert Tool.of(price) == Tool.of(price)
    assert Tool.of(price) != Tool.of(put_in_cart)


def _untyped(item) -> str: ...  # type: ignore[no-untyped-def]  # noqa: ANN001


def _starred(*items: str) -> str: ...


def _positional(item: str, /) -> str: ...


def _keywords(**items: str) -> str: ...


async def _pieces() -> AsyncIterator[str]:
    yield ""


class _Pieces:
    def __call__(self) -> Iterator[str]:
        yield ""


def _unknown_type(item: Nowhere) -> str: ...  # type: ignore[name-defined]  # noqa: F821


def _untellable(item: threading.Thread) -> str: ...


def _unschematic(item: Callable[[], str]) -> str: ...


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (_untyped, "tool '_untyped': the parameter 'item' has no type; annotate it"),
        (_starred, "tool '_starred': *items: 'str' takes arguments without names"),
        (_positional, "tool '_positional': item: 'str' takes arguments without names"),
        (_keywords, "tool '_keywords': **items: 'str' takes arguments without names"),
        (_unknown_type, "tool '_unknown_type': its types cannot be read: name 'Nowhere'"),
        (_untellable, "tool '_untellable': its types have no JSON Schema: "),
        (_unschematic, "tool '_unschematic': its types have no JSON Schema: "),
        (_pieces, "tool '_pieces' gives its result in pieces (`yield`), and a model reads one"),
        (_Pieces(), "tool '_pieces' gives its result in pieces (`yield`)"),
        (Till, "'Till' is a class; make an object of it, `till = Till(...)`, and give that"),
        (lambda: "", "has no name that a model could call it by; define a function with `def`"),
        (functools.partial(price, "tea"), "has no name that a model could call it by"),
    ],
)
def test_a_function_that_can_be_no_tool_is_refused_with_the_reason(
    function: Callable[..., object], told: str
) -> None:
    assert told in refused(function)


def test_a_docstring_in_google_style_is_read_whole() -> None:
    told = read_docstring(
        """Find a train.

        Trains run all day.

        Args:
            start (str): Where it
                begins: a town.

            *ends: Where it ends.
            plain:
        Returns:
            The train: as text.
        """
    )
    assert told.description == "Find a train.\n\nTrains run all day."
    assert told.arguments == {
        "start": "Where it begins: a town.",
        "ends": "Where it ends.",
        "plain": "",
    }


def test_a_section_that_begins_with_no_entry_has_none() -> None:
    assert read_docstring("Do it.\n\nArgs:\n    what comes in\n").arguments == {}
    assert read_docstring(None) == ("", {})


@pytest.mark.parametrize("limit", [{"timeout": 0}, {"max_result": -1}])
def test_a_limit_of_a_decorator_is_more_than_nothing(limit: dict[str, int]) -> None:
    with pytest.raises(DefinitionError, match=r"it must be more than 0; leave it out for no limit"):
        tool(**limit)
