"""`teamgraph runs`: list, show, answer, resume, fork, cancel and delete runs."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Annotated

import typer

from ..errors import (
    DefinitionError,
    InputError,
    NotFound,
    RunError,
    SessionBusy,
    TeamgraphError,
    closest,
)
from ..events import Event
from ..graph.graph import Budget, Graph
from ..messages import JSON, Part, ToolCall, as_plain
from ..records import Exchange, Fault, Question, Record, Run, SessionKey, Turn
from ..run.json_forms import records_as_json, turn_as_json
from ..session.store import Store
from .command import EXIT_FAILURE, command, command_group
from .completion import complete_graphs, complete_nodes, complete_runs
from .lookup import RunFilter, RunLookup, find_session, session_title
from .options import (
    GraphOption,
    GraphOptions,
    JsonFlag,
    PageOptions,
    RunnerOptions,
    StoreOptions,
    UserOption,
    YesFlag,
    confirm,
)
from .output import (
    Style,
    counted,
    indent,
    local_time,
    one_line,
    pretty_json,
    print_json,
    print_note,
    print_paged,
    print_table,
    two_columns,
    usage_text,
    write_file,
)
from .prompts import (
    CurrentTemplates,
    RecordedPrompt,
    differences_text,
    recorded_prompts,
    recorded_prompts_as_json,
    sources_text,
)
from .questions import ask_questions, asked_text, can_ask, parse_answers, question_lines
from .run import (
    BUDGET,
    REUSE_UNCHANGED,
    AnswerWriter,
    CommandHints,
    Executor,
    execute,
    read_message,
)

app = command_group("List, show, answer, resume, fork, cancel and delete runs.")

_RUN_ID = typer.Argument(
    metavar="RUN_ID",
    help="The run id, or a unique prefix.",
    show_default=False,
    autocompletion=complete_runs,
)
RunId = Annotated[str, _RUN_ID]
OptionalRunId = Annotated[str | None, _RUN_ID]


@dataclass(frozen=True, slots=True)
class RunShowOptions:
    """What of a run is shown."""

    node: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="This node only.",
            show_default=False,
            autocompletion=complete_nodes,
        ),
    ] = None
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Also show the messages that were sent.")
    ] = False
    diff: Annotated[
        bool, typer.Option("--diff", help="Show how the templates have changed since the run.")
    ] = False
    graph: Annotated[
        Path | None,
        typer.Option(
            metavar="GRAPH",
            help="The graph whose templates --diff compares with (default: the built-in ones), and "
            "that --html draws.",
            show_default=False,
            autocompletion=complete_graphs,
        ),
    ] = None
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the run as one page of HTML, which can be mailed: with --graph also its "
            "drawing, with --node only this node's messages.",
            show_default=False,
        ),
    ] = None
    json: JsonFlag = False

    def current_templates(self, options: GraphOptions) -> CurrentTemplates | None:
        """The templates to compare with, None if no comparison is asked for."""
        if self.graph is not None:
            return CurrentTemplates(options.load(self.graph))
        return CurrentTemplates() if self.diff else None


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """Which runs are resumed, and what happens if the graph has changed."""

    all_unfinished: Annotated[
        bool, typer.Option("--all", help="Resume every unfinished run of the graph, oldest first.")
    ] = False
    reuse_unchanged: Annotated[
        bool,
        typer.Option(
            REUSE_UNCHANGED,
            help="If the graph has changed, run the changed nodes and everything after them again.",
        ),
    ] = False
    budget: Annotated[
        list[str] | None,
        typer.Option(
            BUDGET,
            metavar="LIMIT",
            help="A limit in place of the graph's, this once: calls=40, session:usd=2 or "
            "day:tokens=90000; repeatable.",
            show_default=False,
        ),
    ] = None
    json: JsonFlag = False


@dataclass(frozen=True, slots=True)
class RespondOptions:
    """The answers, and who gives them."""

    answers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH=ANSWER",
            help="The path of a question and its answer; without any, a terminal asks.",
            show_default=False,
        ),
    ] = None
    by: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="The user who answers. Default: --user.", show_default=False
        ),
    ] = None
    json: JsonFlag = False


@dataclass(frozen=True, slots=True)
class ForkOptions:
    """Where a fork begins, and what is different in it."""

    node: Annotated[
        str | None,
        typer.Option(
            "--from",
            "--node",
            metavar="NODE",
            help="The first node to run again.",
            show_default=False,
            autocompletion=complete_nodes,
        ),
    ] = None
    message: Annotated[
        str | None,
        typer.Option(help="A new message; - reads standard input.", show_default=False),
    ] = None
    session: Annotated[
        str | None,
        typer.Option(metavar="NEW", help="The id of the new session.", show_default=False),
    ] = None
    json: JsonFlag = False


@command(app, "list")
def list_runs(
    which: RunFilter,
    store: StoreOptions,
    *,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Only unfinished runs.")] = False,
    waiting: Annotated[
        bool,
        typer.Option("--waiting", help="Only runs that wait for a person, with what is asked."),
    ] = False,
    page: PageOptions,
    json: JsonFlag = False,
) -> None:
    """List the runs of a session, or of all sessions of a user, newest first.

    Without --user, lists runs that belong to no user; with --all-users, those of everybody.
    """
    if waiting:
        if unfinished or which.session is not None:
            raise InputError("--waiting cannot be combined with --unfinished or --session")
        _list_waiting(which, store, page, as_json=json)
        return
    read = _unfinished_runs if unfinished else _runs
    found = asyncio.run(read(which, store, page))
    if json:
        print_json([turn_as_json(key, turn) for key, turn in found])
    elif found:
        columns = which.with_user(("run", "session", "status", "started", "message"), "user")
        print_table(columns, [which.with_user(_row(key, turn), key.user_id) for key, turn in found])
    else:
        others = "" if which.all_users else "; --all-users lists those of every user"
        print_note(f"no {'unfinished ' if unfinished else ''}runs in {store.title}{others}")
    if found and unfinished and not json:
        words = ["runs", "resume", "--all", "--graph", "GRAPH", *store.words(), *which.words()]
        print_note(f"resume them: {shlex.join(['teamgraph', *words])}", Style.DIM)


@command(app)
def show(
    lookup: RunLookup,
    options: RunShowOptions,
    graph_options: GraphOptions,
    store: StoreOptions,
    *,
    run: OptionalRunId = None,
    last: Annotated[
        bool,
        typer.Option(
            "--last", help="The newest run of the user or the session.", show_default=False
        ),
    ] = False,
) -> None:
    """Show a run: each node's status and its reason, choice, attempts, usage, time and error.

    With --prompt, also the messages that were sent and the templates they were rendered from. With
    --html, all of it as a page, each word of a message in the colour of where it comes from.
    """
    if last == (run is not None):
        raise InputError("name a run, or show the newest one with --last")
    if options.html is not None and (options.json or options.prompt or options.diff):
        raise InputError("--html cannot be combined with --json, --prompt or --diff")
    current = options.current_templates(graph_options)
    found = asyncio.run(_find_run(run, lookup, store))
    if options.node is not None and options.node not in found.records:
        near = closest(options.node, found.records)
        hint = f"did you mean {near!r}?" if near else f"it has {', '.join(found.records)}"
        raise NotFound(f"run {found.run_id!r} has no record of a node {options.node!r}; {hint}")
    node_ids = [options.node] if options.node is not None else list(found.records)
    if options.html is not None:
        graph = current.graph if current is not None else None
        _write_page(found, graph, node_ids, options.html, store)
        return
    wants_prompts = options.prompt or current is not None
    prompts = asyncio.run(_prompts(found, node_ids, store)) if wants_prompts else []
    if options.json:
        fields = records_as_json(found, node_ids, prompts=options.prompt)
        if prompts:
            fields["prompts"] = recorded_prompts_as_json(prompts, current)
        print_json(fields)
        return
    parts = [run_text(found, node_ids, prompts=options.prompt)]
    if prompts:
        parts.append(differences_text(prompts, current) if current else sources_text(prompts))
    print_paged("\n".join(parts))


@command(app)
def resume(
    graph: GraphOption,
    graph_options: GraphOptions,
    which: RunFilter,
    runner_options: RunnerOptions,
    options: ResumeOptions,
    *,
    run_id: OptionalRunId = None,
) -> None:
    """Resume a run that failed or was interrupted; finished nodes do not run again.

    With --all, every unfinished run of the graph that belongs to the user, one after another;
    without --user those that belong to no user, with --all-users those of everybody.
    """
    if options.all_unfinished == (run_id is not None):
        raise InputError("name a run, or resume all unfinished ones with --all")
    if which.all_users and run_id is not None:
        raise InputError("--all-users needs --all; for one run, name its user with --user")
    loaded = graph_options.load(graph)
    runner_options.begin_import(loaded)
    hints = CommandHints.of(graph, graph_options, runner_options)
    limits = _parse_budget(options.budget or ())
    resumer = _Resumer(loaded, runner_options, hints, options.reuse_unchanged, limits)
    if run_id is None:
        resumer.resume_all(which, as_json=options.json)
        return

    key, run_id = asyncio.run(_locate(run_id, which, runner_options))

    def events(store: Store, writer: AnswerWriter) -> AsyncGenerator[Event]:
        return resumer.events(store, run_id, key, writer)

    Executor(loaded, runner_options, hints, "json" if options.json else "text").execute(events)


@command(app)
def respond(
    run: RunId,
    graph: GraphOption,
    graph_options: GraphOptions,
    lookup: RunLookup,
    runner_options: RunnerOptions,
    options: RespondOptions,
) -> None:
    """Answer questions of a run that waits for a person, and continue it.

    An answer is one of the options, a text, JSON of the declared type, or for a tool call approve,
    reject, or JSON: {"approve": false, "reason": "..."}, {"approve": true, "arguments": {...}}.
    """
    loaded = graph_options.load(graph)
    runner_options.begin_import(loaded)
    found = asyncio.run(_find_run(run, lookup, runner_options))
    given = parse_answers(options.answers or (), found.questions)
    if not given and found.questions and not options.json and can_ask():
        given = ask_questions(found.questions)

    hints = CommandHints.of(graph, graph_options, runner_options)
    executor = Executor(loaded, runner_options, hints, "json" if options.json else "text")
    executor.execute(executor.response(found, given, by=options.by))


@command(app)
def fork(
    run: RunId,
    graph: GraphOption,
    graph_options: GraphOptions,
    runner_options: RunnerOptions,
    options: ForkOptions,
    *,
    user: UserOption = None,
) -> None:
    """Run again from one node of a run on, in a new session.

    The new session begins with the turns before the old run, which stays unchanged. Nodes that do
    not depend on the given node are not run again. With --message, every node that may have read
    the message runs again.
    """
    loaded = graph_options.load(graph)
    runner_options.begin_import(loaded)
    message = None if options.message is None else read_message(options.message)
    _, run_id = asyncio.run(_locate(run, RunLookup(user), runner_options))

    def events(store: Store, writer: AnswerWriter) -> AsyncGenerator[Event]:
        return runner_options.runner(loaded, store).afork_stream(
            run_id,
            node=options.node,
            message=message,
            user_id=user,
            into=options.session,
            tokens=writer.tokens,
            resets=writer.resets,
        )

    hints = CommandHints.of(graph, graph_options, runner_options)
    forked = Executor(loaded, runner_options, hints, "json" if options.json else "text").execute(
        events
    )
    print_note(f"continue with: {hints.chat(forked.key)}", Style.DIM)


@command(app)
def cancel(
    run: RunId,
    lookup: RunLookup,
    store: StoreOptions,
    *,
    json: JsonFlag = False,
) -> None:
    """Cancel a run, wherever it is in progress; one that waits for a person, too.

    Another process stops it within about a second. The run can be resumed. Without --user, only a
    run that belongs to no user.
    """

    async def write() -> Run:
        from ..run.cancel import cancel_run
        from ..run.resume import RunReference

        async with store.open() as opened:
            return await cancel_run(opened, RunReference(run, key.user_id, key.session_id))

    key, run = asyncio.run(_locate(run, lookup, store))
    found = asyncio.run(write())
    if json:
        print_json(turn_as_json(key, found.turn))
    elif found.status == "running":
        print_note(f"run {run} of {session_title(key)} is asked to stop", Style.SUCCESS)
    else:
        print_note(f"run {run} of {session_title(key)} is {found.status}", Style.SUCCESS)


@command(app)
def delete(
    run: RunId,
    lookup: RunLookup,
    store: StoreOptions,
    *,
    yes: YesFlag = False,
    json: JsonFlag = False,
) -> None:
    """Delete a run, everything quoted from it, and summaries that cover it.

    Without --user, only a run that belongs to no user.
    """

    async def write() -> None:
        async with store.open() as opened:
            await opened.delete_run(key, run)  # or it was deleted meanwhile

    key, run = asyncio.run(_locate(run, lookup, store))
    confirm(f"run {run!r} of {session_title(key)} and everything quoted from it", yes=yes)
    asyncio.run(write())
    if json:
        print_json({"run_id": run, "session_id": key.session_id, "user_id": key.user_id})
    else:
        print_note(f"deleted run {run} of {session_title(key)}", Style.SUCCESS)


def _list_waiting(
    which: RunFilter, options: StoreOptions, page: PageOptions, *, as_json: bool
) -> None:
    found = asyncio.run(_waiting_runs(which, options, page))
    if as_json:
        print_json(
            [
                {**turn_as_json(run.key, run.turn), "questions": as_plain(run.questions)}
                for run in found
            ]
        )
    elif found:
        columns = which.with_user(("run", "session", "question", "assigned to", "asked"), "user")
        rows = [
            which.with_user(_question_row(run, question), run.user_id)
            for run in found
            for question in run.questions
        ]
        print_table(columns, rows)
        words = ["runs", "respond", "RUN", "QUESTION=ANSWER", "--graph", "GRAPH", *options.words()]
        print_note(f"answer one: {shlex.join(['teamgraph', *words, *which.words()])}", Style.DIM)
    else:
        others = "" if which.all_users else "; --all-users lists those of every user"
        print_note(f"no waiting runs in {options.title}{others}")


def _question_row(run: Run, question: Question) -> Sequence[str]:
    late = " (expired)" if question.has_expired(time()) else ""
    return (
        run.run_id,
        run.session_id,
        question.path,
        question.assign_to or "",
        f"{asked_text(question)}{late}",
    )


async def _waiting_runs(
    which: RunFilter, options: StoreOptions, page: PageOptions
) -> Sequence[Run]:
    enough = page.limit + page.offset
    async with options.open() as store:
        hits = [
            hit
            async for user in which.users(store)
            for hit in await store.waiting(user, limit=enough)
        ]
        hits.sort(key=lambda hit: hit.turn.started, reverse=True)
        runs = [await store.run(hit.key, hit.turn.run_id) for hit in hits[page.offset : enough]]
    return [run for run in runs if run is not None]


async def _unfinished_runs(
    which: RunFilter, options: StoreOptions, page: PageOptions
) -> Sequence[tuple[SessionKey, Turn]]:
    async with options.open() as store:
        found = await which.unfinished(store)
    return found[page.offset : page.offset + page.limit]


async def _runs(
    which: RunFilter, options: StoreOptions, page: PageOptions
) -> Sequence[tuple[SessionKey, Turn]]:
    async with options.open() as store:
        if which.session is not None:
            key = await find_session(SessionKey(which.user, which.session), store)
            turns = await store.runs(key, limit=page.limit, offset=page.offset)
            return [(key, turn) for turn in turns]
        # The newest runs of a user are in the newest sessions, so no more of those are needed.
        enough = page.limit + page.offset
        found = [
            (info.key, turn)
            async for user in which.users(store)
            for info in await store.sessions(user, limit=enough)
            for turn in await store.runs(info.key, limit=enough)
        ]
    found.sort(key=lambda pair: pair[1].started, reverse=True)
    return found[page.offset : enough]


async def _locate(
    run_id: str | None, lookup: RunLookup, options: StoreOptions
) -> tuple[SessionKey, str]:
    """The session and the whole id of a run, or of the newest one; raises `NotFound`."""
    async with options.open() as store:
        found = await _find(run_id, lookup, store)
    if found is None:
        raise _no_run(run_id, options)
    return found


async def _find_run(run_id: str | None, lookup: RunLookup, options: StoreOptions) -> Run:
    async with options.open() as store:
        found = await _find(run_id, lookup, store)
        run = None if found is None else await store.run(*found)
    if run is None:
        raise _no_run(run_id, options)
    return run


async def _find(
    run_id: str | None, lookup: RunLookup, store: Store
) -> tuple[SessionKey, str] | None:
    return await (lookup.latest(store) if run_id is None else lookup.find(run_id, store))


async def _prompts(
    run: Run, node_ids: Sequence[str], options: StoreOptions
) -> list[RecordedPrompt]:
    async with options.open() as store:
        return await recorded_prompts((run.records[node_id] for node_id in node_ids), store)


def _write_page(
    run: Run, graph: Graph | None, node_ids: Sequence[str], file: Path, options: StoreOptions
) -> None:
    # Lazy: only a page needs it.
    from ..view.report import run_page

    async def page() -> str:
        async with options.open() as store:
            return await run_page(run, store, graph, nodes=node_ids)

    write_file(asyncio.run(page()).encode(), file, private=True)
    print_note(f"wrote {file}", Style.SUCCESS)


def _no_run(run_id: str | None, options: StoreOptions) -> NotFound:
    named = "run" if run_id is None else f"run {run_id!r}"
    return NotFound(
        f"there is no {named} in {options.title}; `teamgraph runs list` lists runs "
        "(--user: of a user)"
    )


def _row(key: SessionKey, turn: Turn) -> Sequence[str]:
    return (turn.run_id, key.session_id, turn.status, local_time(turn.started), turn.input)


def _parse_budget(limits: Sequence[str]) -> Sequence[Budget]:
    """The limits `[PER:]NAME=NUMBER`; several of one `per` are one budget."""
    found: dict[str, dict[str, float]] = {}
    for limit in limits:
        place, _, number = limit.partition("=")
        per, _, name = place.rpartition(":")
        try:
            value = float(number)
            found.setdefault(per or "run", {})[name] = int(value) if value.is_integer() else value
        except ValueError as error:
            raise InputError(
                f"{BUDGET} {limit!r}: write it as NAME=NUMBER or PER:NAME=NUMBER, such as "
                "calls=40 or session:usd=2"
            ) from error
    try:
        return [Budget(**{"per": per, **each}) for per, each in found.items()]  # type: ignore[arg-type]  # it checks them
    except DefinitionError as error:
        raise InputError(f"{BUDGET}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Resumer:
    """Resumes runs of one graph."""

    graph: Graph
    options: RunnerOptions
    hints: CommandHints
    reuse_unchanged: bool
    budget: Sequence[Budget]

    def events(
        self, store: Store, run_id: str, key: SessionKey, writer: AnswerWriter
    ) -> AsyncGenerator[Event]:
        runner = self.options.runner(self.graph, store)
        return runner.aresume_stream(
            run_id,
            user_id=key.user_id,
            session_id=key.session_id,
            reuse_unchanged=self.reuse_unchanged,
            budget=self.budget,
            tokens=writer.tokens,
            resets=writer.resets,
        )

    def resume_all(self, which: RunFilter, *, as_json: bool) -> None:
        """Resume one after another, and print a line for each."""
        found = asyncio.run(self._unfinished(which))
        mine = [each for each in reversed(found) if each[1].graph == self.graph.name]
        if others := len(found) - len(mine):
            print_note(f"skipped {counted(others, 'unfinished run')} of other graphs")
        results = [self._resume(key, turn) for key, turn in mine]
        if as_json:
            print_json([result.as_json() for result in results])
        elif results:
            rows = [which.with_user(each.row(), each.run.user_id) for each in results]
            print_table(which.with_user(("run", "session", "status", "result"), "user"), rows)
        else:
            print_note(f"no unfinished runs of graph {self.graph.name} in {self.options.title}")
        if any(result.is_failure for result in results):
            raise typer.Exit(EXIT_FAILURE)

    async def _unfinished(self, which: RunFilter) -> Sequence[tuple[SessionKey, Turn]]:
        async with self.options.open() as store:
            return await which.unfinished(store)

    def _resume(self, key: SessionKey, turn: Turn) -> _ResumeResult:
        try:
            run = execute(
                lambda store, writer: self.events(store, turn.run_id, key, writer),
                self.options,
                AnswerWriter("json"),
                self.hints,
            )
        except TeamgraphError as error:
            run = error.run if isinstance(error, RunError) and error.run else Run(key, turn)
            return _ResumeResult(run, error)
        return _ResumeResult(run)


@dataclass(frozen=True, slots=True)
class _ResumeResult:
    """A run after it was resumed, and the error if that failed."""

    run: Run
    error: TeamgraphError | None = None

    @property
    def is_failure(self) -> bool:
        """Whether the run needs attention; one in progress elsewhere does not."""
        return self.error is not None and not isinstance(self.error, SessionBusy)

    def as_json(self) -> dict[str, JSON]:
        run, error = self.run, self.error
        return {
            "run_id": run.run_id,
            "session_id": run.session_id,
            "user_id": run.user_id,
            "status": run.status,
            "answer": run.answer,
            "error": None if error is None else error.text_for("terminal"),
        }

    def row(self) -> Sequence[str]:
        error = self.error
        result = self.run.answer or "" if error is None else error.text_for("terminal")
        if self.run.questions:
            result = f"waits for {', '.join(each.path for each in self.run.questions)}"
        return (self.run.run_id, self.run.session_id, self.run.status, one_line(result))


def run_text(run: Run, node_ids: Collection[str], *, prompts: bool) -> str:
    """The run and these of its nodes as text; with `prompts` also the messages of each call."""
    parts = [_heading(run)]
    parts += [_node_text(run.records[node_id], prompts=prompts) for node_id in node_ids]
    return "\n\n".join(parts) + "\n"


def _heading(run: Run) -> str:
    return two_columns(
        {
            "run": run.run_id,
            "session": run.session_id,
            "user": run.user_id,
            "graph": run.turn.graph,
            "forked from": run.turn.forked_from,
            "status": run.status,
            "error": run.turn.error,
            "turn": run.turn.number or None,
            "started": local_time(run.turn.started),
            "took": f"{run.duration:.2f} s{usage_text(run.usage)}" if run.turn.ended else None,
            "system": one_line(run.turn.system) if run.turn.system else None,
            "message": one_line(run.input),
            "answer": one_line(run.answer or ""),
        }
    )


def _node_text(record: Record, *, prompts: bool) -> str:
    took = f"{max(0.0, record.ended - record.started):.2f} s" if record.ended else ""
    fields = two_columns(
        {
            "status": record.status,
            "because": record.because,
            "choice": ", ".join(record.choices) if record.choices is not None else None,
            "task": one_line(record.task) if record.task is not None else None,
            **{name: one_line(str(value)) for name, value in record.fields.items()},
            **question_lines(record.questions),
            "error": record.error,
            "attempts": record.attempt if record.attempt > 1 else None,
            **{f"attempt {each.attempt}": one_line(_fault_text(each)) for each in record.faults},
            "took": f"{took}{usage_text(record.usage)}",
            "output": "" if record.output is None else one_line(_output_text(record.output)),
            "state": pretty_json(record.state) if record.state else None,
        }
    )
    calls = [exchange_text(exchange) for exchange in record.exchanges] if prompts else []
    return "\n\n".join([f"{record.node} ({record.kind})\n{indent(fields)}", *calls])


def _fault_text(fault: Fault) -> str:
    wait = f"; waited {fault.wait:.1f} s" if fault.wait else ""
    return f"{fault.text}{wait}{usage_text(fault.usage)}"


def exchange_text(exchange: Exchange) -> str:
    """A model call: every line of a message is indented under its role, so none can be forged."""
    parts = [f"prompt {exchange.prompt} ({exchange.prompt_hash[:12]}) to {exchange.model}"]
    for message in exchange.messages:
        quoted = f" (of run {message.origin})" if message.origin else ""
        parts.append(indent(f"{message.role}{quoted}:"))
        parts.append(_message_text(message.content, message.tool_calls, message.parts))
    parts.append(indent("reply:"))
    parts.append(_message_text(exchange.reply, exchange.tool_calls))
    for result in exchange.tool_results:
        parts.append(indent("tool:"))
        parts.append(_message_text(result.content))
    return indent("\n".join(parts))


def _message_text(text: str, calls: Sequence[ToolCall] = (), attached: Sequence[Part] = ()) -> str:
    more = [f"calls {call.name}({call.arguments})" for call in calls]
    more += [f"attached: {part}" for part in attached]
    return indent("\n".join(filter(None, [text, *more])), by="    ") or "    (empty)"


def _output_text(value: object) -> str:
    return value if isinstance(value, str) else pretty_json(value)
