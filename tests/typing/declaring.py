"""What people write is typed: checked by mypy (with pydantic's plug-in and without) and pyright."""

from __future__ import annotations

from teamgraph import Event, Graph, Instead, ModelSpec, Retry, Run, Runner, Timeout, Turn
from teamgraph.kinds import Context, Node, Result
from teamgraph.nodes import HistoryLoader, Leader, Member, Python, Route, Router, Summarizer


class Translator(Node):
    """An own kind, as the documentation has it."""

    language: str
    prompt: str | None = "translate.jinja"

    async def run(self, context: Context) -> Result:
        return Result(await context.ask())


def shout(message: str) -> str:
    return message.upper()


def team() -> Graph:
    return Graph(
        name="typed",
        model="echo",
        retry=2,
        timeout=60,
        on_error="skip",
        state={"limit": 3, "tags": ["a"]},
        nodes={
            "history": HistoryLoader(runs=5),
            "router": Router(
                routes={"a": "about", "b": Route(to=["b"], when="input.message")}, default="a"
            ),
            "a": Member(role="x", needs=["router"], retry=Retry(times=1), timeout=Timeout(idle=3)),
            "b": Member(role="x", needs="router", on_error=Instead(value="sorry")),
            "c": Python(call=shout, params={"times": 1}),
            "last": Leader(needs=("a", "b"), model=ModelSpec(id="echo", temperature=0)),
            "summary": Summarizer(every=2),
        },
        output="last",
    )


def short_routes() -> Router:
    return Router(routes={"a": "about"})


def own_kind() -> Translator:
    return Translator(language="French", needs=["a"])


async def doors() -> None:
    runner = Runner(team(), busy="reject")
    runs: list[Run] = [
        runner.run("hi", user_id="ann", session_id="s", state={"n": 1}),
        await runner.arun("hi"),
        runner.resume("r", reuse_unchanged=True),
        runner.fork("r", node="a", into="t"),
    ]
    events: list[Event] = [*runner.stream("hi"), *runner.fork_stream("r", message="ho")]
    turns: list[Turn] = runner.session("s").history(limit=len(runs) + len(events))
    del turns


def wrong() -> None:
    runner = Runner(team())
    runner.run(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    runner.run("hi", user="ann")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    runner.session("s").history(limit="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Runner(team(), busy="wait")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Member(role=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Member(rol="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Graph(nam="x", nodes={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Translator()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
