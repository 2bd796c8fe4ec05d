"""A graph that has all that a template can read, and random runs of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Literal

from pydantic import BaseModel

from teamgraph import Graph, Message, Record
from teamgraph.engine.graph.context import SessionView
from teamgraph.engine.graph.template_types import TemplateTypes
from teamgraph.engine.prompts.static.types import StaticType
from teamgraph.engine.run.template_scope import (
    GraphScope,
    JSONView,
    RunView,
    TemplateScope,
    json_view,
    output_view,
)
from teamgraph.kinds import Exchanged, History, Input, Upstream
from teamgraph.nodes import HistoryLoader, Member, Python, Router, Search


class Owner(BaseModel):
    name: str
    age: int | None


class Thing(BaseModel):
    title: str
    price: float
    sold: bool
    owner: Owner | None
    tags: list[str]
    note: str | None


class Ticket(BaseModel):
    urgency: Literal["low", "high"]
    owner: Owner
    things: list[Thing]
    best: Thing | None
    places: dict[str, Owner]
    words: list[str | None]
    pair: tuple[str, int]


@dataclass
class Sight:
    name: str
    miles: int


def sights() -> list[Sight]:
    return []


def best_sight() -> Sight | None:
    return None


PARAMS = {
    "style": "calm",
    "most": 3,
    "half": 0.5,
    "none": [],
    "deep": {"two": ["a", "b"]},
    "rows": [{"a": 1, "b": "x"}, {"a": 2}],
}
STATE = {"orders": 0, "town": "Ulm", "seen": ["a"], "cart": {"pears": 1}, "who": None}


def graph(template: str) -> Graph:
    """The graph whose node `reader` has this template."""
    return Graph(
        name="world",
        description="All that can be read",
        model="m",
        state=STATE,
        nodes={
            "history": HistoryLoader(),
            "router": Router(routes={"english": "English", "french": "French"}, default="french"),
            "moods": Router(routes={"glad": "Glad", "sad": "Sad"}, select="many", allow_none=True),
            "english": Member(role="You speak English"),
            "french": Member(role="You speak French"),
            "glad": Member(),
            "sad": Member(returns={"why": "str", "level": "int?"}),
            "triage": Member(returns={"lang": "fr|de", "score": "float?", "tags": "list[str]"}),
            "ticket": Member(returns=Ticket),
            "maybe": Member(when="input.message == 'maybe'"),
            "shaky": Member(on_error={"value": None}),
            "search": Search(),
            "sights": Python(call=sights),
            "sight": Python(call=best_sight),
            "reader": Member(
                prompt=template,
                role="You read",
                needs=["english", "french", "sad"],
                reads=["triage", "ticket", "maybe", "sight"],
                join="always",
                params=PARAMS,
            ),
        },
        output="reader",
    )


GRAPH = graph("{{ input.message }}\n")
KNOWN: Mapping[str, StaticType] = TemplateTypes(
    GRAPH.nodes, GRAPH.shapes, {"state": STATE, "on_error": None}, GRAPH.prompts, ()
).for_template("reader", "")
MAY_BE_SKIPPED = frozenset(("english", "french", "glad", "sad", "maybe"))
_GRAPH_SCOPE = GraphScope(GRAPH)
_TEXTS = (
    "hi",
    "maybe",
    "a longer text, of more than one line\nand a half",
    "<b>&",
    "",
    "0",
    "{{ x }}",
)


class World:
    """One random run of the graph, as the template of `reader` sees it."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        outputs = self._outputs()
        outcomes: dict[str, object] = {"history": self._history(), **outputs}
        state = {**STATE, **self._state()}
        scope = TemplateScope(
            graph=_GRAPH_SCOPE,
            input=Input(self._text()),
            user_id=self._maybe("ann"),
            session=SessionView(
                "s", JSONView(state), self._maybe(self._text()), chance.randrange(3)
            ),
            run=RunView("run-1"),
            now=datetime(2026, 11, 22, tzinfo=UTC),
            state=state,
        )
        node = _GRAPH_SCOPE.node_view("reader", {}, self._maybe("a task"))
        node.reads = self._seen(("triage", "ticket", "maybe", "sight"), outputs)
        upstream = self._seen(("english", "french", "sad"), outputs)
        self.variables = scope.bind(node, upstream, outcomes, state)

    def _outputs(self) -> dict[str, object]:
        of = self._chance
        moods = [each for each in ("glad", "sad") if of.random() < 0.5]
        way = of.choice(("english", "french"))
        fields = {"router": {"reason": self._text()}, "moods": {"reason": self._text()}}
        values: dict[str, object] = {
            "router": way,
            "moods": moods,
            way: self._text(),
            "triage": {
                "lang": of.choice(("fr", "de")),
                "score": self._maybe(0.5),
                "tags": self._list(self._text),
            },
            "ticket": self._ticket(),
            "shaky": self._maybe(self._text()),
            "search": self._list(self._found),
            "sights": self._list(lambda: {"name": self._text(), "miles": of.randrange(9)}),
            "sight": self._maybe({"name": self._text(), "miles": 3}),
        }
        if "glad" in moods:
            values["glad"] = self._text()
        if "sad" in moods:
            values["sad"] = {"why": self._text(), "level": self._maybe(2)}
        if of.random() < 0.5:
            values["maybe"] = self._text()
        return {
            name: output_view(Record(name, "done", output=None, fields=fields.get(name, {})), value)
            for name, value in values.items()
        }

    def _seen(self, names: tuple[str, ...], outputs: Mapping[str, object]) -> list[Upstream]:
        return [
            Upstream(
                name,
                GRAPH.nodes[name].kind,
                _GRAPH_SCOPE.roles[name],
                json_view(outputs[name].output),  # type: ignore[attr-defined]  # every outcome has it
            )
            for name in names
            if name in outputs
        ]

    def _history(self) -> History:
        runs = tuple(self._list(lambda: Exchanged(self._text(), self._text())))
        messages = [
            Message(role=role, content=text)
            for run in runs
            for role, text in (("user", run.input), ("assistant", run.answer))
        ]
        return History(tuple(messages), runs, self._maybe(self._text()), self._text())

    def _ticket(self) -> object:
        made = Ticket(
            urgency=self._chance.choice(("low", "high")),
            owner=self._owner(),
            things=self._list(self._thing),
            best=self._maybe(self._thing()),
            places={name: self._owner() for name in self._list(lambda: self._chance.choice("ab"))},
            words=self._list(lambda: self._maybe(self._text())),
            pair=(self._text(), 2),
        )
        return made.model_dump(mode="json")

    def _thing(self) -> Thing:
        return Thing(
            title=self._text(),
            price=self._chance.choice((0, 1.5)),
            sold=self._chance.random() < 0.5,
            owner=self._maybe(self._owner()),
            tags=self._list(self._text),
            note=self._maybe(self._text()),
        )

    def _owner(self) -> Owner:
        return Owner(name=self._text(), age=self._maybe(self._chance.randrange(90)))

    def _found(self) -> dict[str, object]:
        said = {"input": self._text(), "answer": self._text()}
        return {"session_id": "s2", "runs": self._list(lambda: dict(said))}

    def _state(self) -> dict[str, object]:
        changes: dict[str, object] = {
            "orders": self._chance.randrange(5),
            "town": self._text(),
            "seen": self._list(self._text),
            "cart": {},
        }
        return {key: value for key, value in changes.items() if self._chance.random() < 0.5}

    def _text(self) -> str:
        return self._chance.choice(_TEXTS)

    def _maybe(self, value):  # noqa: ANN001, ANN202
        return value if self._chance.random() < 0.5 else None

    def _list(self, make):  # noqa: ANN001, ANN202
        return [make() for _ in range(self._chance.choice((0, 0, 1, 2, 3)))]


WORLDS = [World(Random(number)) for number in range(64)]
