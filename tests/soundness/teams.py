"""Random teams whose every source has a text of its own, and what each text must be called.

A piece of a prompt that shows a nonce must have the kind and the label of the source that wrote it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random

from teamgraph import Graph, MemoryStore, Reply, Request, Run, Runner, ScriptedModel, ToolCall
from teamgraph.engine.view.origins import CallOrigins, Origin
from teamgraph.kinds import Node
from teamgraph.nodes import (
    HistoryLoader,
    Leader,
    Loop,
    Map,
    Member,
    Python,
    Router,
    SubGraph,
    Summarizer,
    Swarm,
)

NONCE = re.compile(r"n[a-z]+\d+e", re.IGNORECASE)
_NUMBERS = count(1)
_ANYWHERE = (
    "{{ input.message }}",
    '{{ input.message | fence("m") }}',
    "<{{ input.message | upper }}>",
    "{% set x = input.message %}{{ x }}",
    "{{ node.role }}",
    "{{ node.params.p }}",
    "{{ session.state.k or 0 }}",
    "{{ session.summary or '' }}",
    "{{ session.turns }}",
    "{{ user_id or '' }} {{ run.id }} {{ now.year }}",
    "{% for m in graph.members %}{{ m.id }} {{ m.role }}, {% endfor %}",
    "{{ node.task or '' }}",
    "{% include 'answer_form.jinja' %}",
    "{% for o in upstream %}{{ o.id }}: {{ o.output | written | fence('x') }}\n{% endfor %}",
    "{% for o in node.reads %}{{ o.output | written }}\n{% endfor %}",
)
_PAST = (
    "{% for r in history.runs %}{{ r.input }} - {{ r.answer | trim }}\n{% endfor %}",
    "{{ history.output }}",
    "{{ history.runs[-1].answer if history.runs else '' }}",
    "{{ (history.runs[0].input if history.runs else '') | upper }}",
    "{% for m in history.messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
)
_ROUND = ("{{ round.previous or '' }}", "{% for o in round.outputs %}{{ o }} {% endfor %}")
_TAKEN = ("{{ node.handover.reason if node.handover else '' }}",)
_ITEM = ("{{ input.item }}", "{{ input.number }}")


def nonce(kind: str) -> str:
    """A text that nothing else has."""
    return f"n{kind}{next(_NUMBERS)}e"


@dataclass
class Team:
    """A random team, the session that it talks in, and what its texts are."""

    chance: Random
    known: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])

    def graph(self) -> Graph:
        """The team."""
        chance = self.chance
        has_past = chance.random() < 0.8
        nodes: dict[str, object] = {}
        if has_past:
            nodes["history"] = HistoryLoader(runs=chance.randrange(1, 4))
        nodes["facts"] = Python(call=self._facts)
        nodes["router"] = Router(
            routes={"second": "for the second", "first": "for the first"},
            tasks=chance.random() < 0.5,
            **self._prompt("choose for {{ input.message }}\n"),
        )
        template = self._template
        tools = [self._tool()] if chance.random() < 0.5 else []
        nodes["first"] = self._member(template(has_past), tools=tools)
        nodes["second"] = self._member(template(has_past), reads=["facts"])
        before = ["first", "second"]
        middle: list[tuple[str, Callable[[Sequence[str]], Node]]] = [
            ("sub", self._sub),
            ("draft", self._loop),
            ("each", self._map),
            ("desk", self._swarm),
        ]
        for name, make in middle:
            if chance.random() < 0.4:
                nodes[name] = make(before)
                before = [name]
        lead = "{% for o in upstream %}{{ o.output | written }}\n{% endfor %}"
        nodes["lead"] = Leader(role=self._param("lead"), needs=before, **self._prompt(lead))
        turns = "{% for t in turns %}{{ t.input }} {{ t.answer }} {% endfor %}"
        turns = "{{ session.summary or '' }}" + turns
        nodes["summary"] = Summarizer(needs=["lead"], **self._prompt(turns))
        state = nonce("state")
        self.known[state] = ("state", "k")
        return Graph(name="team", model="m", state={"k": state}, nodes=nodes, output="lead")

    def _facts(self, session_state: dict[str, object]) -> list[str]:
        if self.chance.random() < 0.5:
            session_state["k"] = text = nonce("state")
            self.known[text] = ("state", "k")
        facts = [nonce("fact") for _ in range(self.chance.randrange(1, 3))]
        self.known.update(dict.fromkeys(facts, ("node", "facts")))
        return facts

    def _member(self, template: str, **fields: object) -> Member:
        params = {"p": self._param("params.p")}
        return Member(role=self._param("role"), params=params, prompt=template, **fields)

    def _param(self, label: str) -> str:
        text = nonce("param")
        self.known[text] = ("params", label)
        return text

    def _tool(self) -> Callable[[str], str]:
        def lookup(word: str) -> str:
            """Looks a word up."""
            text = nonce("tool")
            self.known[text] = ("tool", "lookup")
            return f"{text} for {word}"

        return lookup

    def _sub(self, before: Sequence[str]) -> Node:
        return SubGraph(graph=self._inner(), needs=before, **self._input())

    def _loop(self, before: Sequence[str]) -> Node:
        return Loop(
            graph=self._member(self._template(past=False, more=_ROUND)),
            until="false",
            max=self.chance.randrange(1, 3),
            needs=before,
            **self._input(),
        )

    def _map(self, before: Sequence[str]) -> Node:
        member = self._member(self._template(past=False, more=_ITEM))
        return Map(graph=member, over="facts.output", needs=[*before, "facts"])

    def _inner(self) -> Graph:
        template = self._template(past=False)
        nodes = {
            "one": self._member(template),
            "two": Leader(needs=["one"], **self._prompt("{{ one.output }}\n")),
        }
        return Graph(name="inner", nodes=nodes, output="two", state={"k": 1})

    def _swarm(self, before: Sequence[str]) -> Swarm:
        return Swarm(
            members={
                "desk": Member(
                    role=self._param("role"),
                    hands_to=["sales"],
                    **self._prompt("{{ node.role }}: {{ input.message }}\n"),
                ),
                "sales": self._member(self._template(past=False, more=_TAKEN)),
            },
            start="desk",
            needs=before,
            **self._input(),
        )

    def _prompt(self, template: str) -> Mapping[str, str]:
        """This template, or sometimes that of the kind, which takes longer to check."""
        return {} if self.chance.random() < 0.15 else {"prompt": template}

    def _input(self) -> Mapping[str, str]:
        if self.chance.random() < 0.5:
            return {}
        texts = (
            "for you: {{ input.message }}",
            "{% for o in upstream %}{{ o.output }}{% endfor %}",
        )
        return {"input": self.chance.choice(texts)}

    def _template(self, past: bool = True, more: Sequence[str] = ()) -> str:
        chance = self.chance
        lines = [*_ANYWHERE, *(_PAST if past else ()), *more]
        system = "\n".join(chance.sample(lines, chance.randrange(1, 4)))
        user = "\n".join(chance.sample(lines, chance.randrange(1, 4)))
        if chance.random() < 0.3:
            return f"{system}\n{user}\n"
        between = "{% messages history.messages %}\n" if past and chance.random() < 0.5 else ""
        return (
            f"{{% system %}}\n{system}\n{{% endsystem %}}\n{between}"
            f"{{% user %}}\n{user}\n{{% enduser %}}\n"
        )

    def answer(self, request: Request) -> object:
        """What the model says: a text of its own, or calls of tools."""
        if request.choices:
            label, task = self.chance.choice(request.choices), nonce("task")
            self.known[task] = ("node", "router")
            return {"reason": "so", "choice": label, "tasks": [{"label": label, "task": task}]}
        if request.schema is not None:
            text = nonce("summary")
            self.known[text] = ("summary", "summary")
            return {"summary": text, "topics": []}
        tools = [tool["function"]["name"] for tool in request.tools]
        if tools and request.messages[-1].role != "tool" and self.chance.random() < 0.7:
            return Reply(
                "",
                tool_calls=(ToolCall(id="1", name=tools[0], arguments=self._arguments(tools[0])),),
            )
        return nonce("out")

    def _arguments(self, tool: str) -> str:
        if tool == "lookup":
            return json.dumps({"word": "pear"})
        reason = nonce("reason")
        self.known[reason] = ("node", "desk[1]/desk")
        return json.dumps({"reason": reason})


@dataclass
class Talk:
    """A session of several teams, each of which is the one before it changed."""

    team: Team
    graph: Graph | None = None
    store: MemoryStore = field(default_factory=MemoryStore)
    runs: list[Run] = field(default_factory=list[Run])
    turn_of: dict[str, int] = field(default_factory=dict[str, int])

    def turn(self) -> Run:
        """One more turn, with a message of its own."""
        assert self.graph is not None
        runner = Runner(self.graph, store=self.store, model=ScriptedModel(self.team.answer))
        message = nonce("message")
        number = len(self.runs) + 1
        self.team.known[message] = ("message", "message")
        self.turn_of[message] = number
        run = runner.run(message, session_id="s", user_id="ann")
        for path, record in run.records.items():
            for exchange in record.exchanges:
                for text in NONCE.findall(exchange.reply):
                    if text.startswith("nout"):
                        self.team.known[text] = ("node", path)
                        self.turn_of[text] = number
        self.runs.append(run)
        return run

    def wrong(self, number: int, origin: Origin, text: str) -> str | None:
        """What is wrong with the origin of a piece with this nonce, None if nothing is."""
        kind, label = self.team.known[text]
        said, now = self.turn_of.get(text), origin.label.split(", ")
        if said is not None and said < number:
            fits = {"history", f"turn {said}"} & {*now}
            kind = "history"
        elif kind == "node":
            fits = {each for each in now if each == "answer" or _is_around(each, label)}
        elif kind == "params":
            fits = {each for each in now if each.endswith((label, "role"))}
        else:
            fits = {label} & {*now}
        is_right = bool(fits) and origin.kind in (kind, "several")
        return None if is_right else f"{text} ({kind}, {label}) is called {origin}"

    def problems(self, run: Run, calls: Mapping[str, Sequence[CallOrigins]]) -> Iterator[str]:
        """What is wrong with the origins of a run."""
        number = run.turn.number
        for path, record in run.records.items():
            found = calls.get(path, ())
            if [[each.text for each in call.messages] for call in found] != [
                [each.content for each in exchange.messages] for exchange in record.exchanges
            ]:
                yield f"turn {number}, {path}: the pieces are not the prompt"
            for call in found:
                for piece in (each for message in call.messages for each in message.pieces):
                    if piece.origin.kind == "unknown":
                        yield f"turn {number}, {path}: unknown: {piece.text!r}"
                        continue
                    for text in NONCE.findall(piece.text):
                        wrong = self.wrong(number, piece.origin, text.lower())
                        if wrong is not None:
                            yield f"turn {number}, {path}: {wrong}"


def _is_around(label: str, path: str) -> bool:
    """Whether a label is the path of a node, or of one around it."""
    return path == label or path.startswith((f"{label}/", f"{label}["))


def talk(seed: int) -> Talk:
    """A session of four turns; after the second the team is changed to another random one."""
    found = Talk(Team(Random(seed)))
    for _ in range(2):
        found.graph = found.team.graph()
        found.turn()
        found.turn()
    return found
