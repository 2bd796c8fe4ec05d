"""A dry run: a run by the real scheduler, with a model that replies what is assumed."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import cast

from msgspec import Struct, field
from msgspec.structs import replace

from ...blocking import run_blocking
from ...errors import InputError, NoAnswer, NodeError, PromptError
from ...events import Event, PromptRendered
from ...graph.graph import MESSAGE, Graph
from ...graph.node import NamesPython, Node, Rehearses, branches_of, graph_in, takes_of
from ...messages import JSON, HistoryItem, Part
from ...models.protocol import Request
from ...node_path import ROOT, NodePath
from ...prompts.library import CAPTURED_PROMPTS, CapturedPrompt
from ...records import Run, SessionKey, Turn
from ...session.session import no_session
from ...session.store import Store
from ...values import check_ids, check_mapping, check_system, check_text
from ..execution import RunRequest
from ..model_call import PERSON
from ..prepared import PreparedGraph, prepare
from .assumed_session import AssumedSession, ReadOnlyStore
from .assumptions import Assumptions, DryRunExecution, JSONs, check_assumptions, find_node
from .rendering import RenderedNode, RenderedPrompt, Rendering

RUN_ID = "run-1"
NOW = 946_684_800.0
"""The clock of every dry run: 2000-01-01T00:00:00Z, in Unix seconds."""
MAX_ROUTES = 64
"""The default limit of `render_all`: combinations of routes."""


class Scene(Struct, frozen=True):
    """The inputs of a dry run beside the graph.

    With `is_full` samples of outputs have every optional field; without, only required ones.
    `attachments` are names of files, which are not read, or whole parts.
    """

    message: str = MESSAGE
    assume: JSONs = field(default_factory=dict[str, object])
    history: Sequence[HistoryItem] = ()
    state: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    session: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    user_id: str | None = None
    is_full: bool = True
    system: str | None = None
    attachments: Sequence[str | Part] = ()

    def __post_init__(self) -> None:
        check_text(self.message)
        check_system(self.system)
        check_ids(user_id=self.user_id)
        check_mapping("assume", self.assume, "node ids to outcomes")
        check_mapping("state", self.state, "keys to values")
        check_mapping("session", self.session, "`id`, `summary`, `turns` and `node_states`")


def render(graph: Graph, scene: Scene) -> Rendering:
    """Every prompt of one run, as it would be sent; raises `InputError`, or what ends the run."""
    return run_blocking(_rendered(graph, scene, None))


def render_all(graph: Graph, scene: Scene, *, limit: int = MAX_ROUTES) -> list[Rendering]:
    """One rendering for each combination of routes, except where a route is assumed.

    A router that may choose several labels chooses each alone, and all at once. Raises `InputError`
    if there are more than `limit` combinations.
    """
    renderings: list[Rendering] = []
    todo = [scene]
    while todo:
        one = todo.pop()
        rendering = render(graph, one)
        # In all rounds of a loop a router chooses the same.
        routers = dict.fromkeys(NodePath(router).declared for router in rendering.routes)
        is_open = (router for router in routers if router not in one.assume)
        router = next(is_open, None)
        if router is None:
            renderings.append(rendering)
        else:
            ways = reversed(_ways(find_node(graph, router)[1]))
            todo += [replace(one, assume={**one.assume, router: way}) for way in ways]
        if len(renderings) + len(todo) > limit:
            raise InputError(
                f"graph {graph.name!r} has more than {limit} combinations of routes; assume "
                "what some of its routers choose, or raise `limit`"
            )
    return renderings


async def render_next(graph: Graph, scene: Scene, store: Store, session_id: str) -> Rendering:
    """The prompts of the next turn of a stored session, which is only read.

    Raises `NotFound` if the user has no such session.
    """
    key = SessionKey(scene.user_id, session_id)
    if await store.head(key) is None:
        raise no_session(key)
    return await _rendered(graph, replace(scene, session={"id": session_id}), store)


async def _rendered(graph: Graph, scene: Scene, store: Store | None) -> Rendering:
    if not scene.message.strip():
        raise InputError("the message is empty; write something")
    session = AssumedSession.parse(scene.history, scene.session)
    key = SessionKey(scene.user_id, session.session_id)
    assumptions = check_assumptions(graph, scene.assume, is_full=scene.is_full)
    turn = Turn(
        run_id=RUN_ID,
        input=scene.message,
        graph=graph.name,
        given_state=scene.state,
        started=NOW,
        system=scene.system,
        attachments=_parts(scene.attachments),
    )
    emitted: list[PromptRendered] = []

    def listen(event: Event) -> None:
        if isinstance(event, PromptRendered):
            emitted.append(event)

    rendered: list[CapturedPrompt] = []
    token = CAPTURED_PROMPTS.set(rendered)
    try:
        run = await _run(
            DryRunExecution.execute(
                _without_limits(prepare(graph, assumptions)),
                ReadOnlyStore(session.store(key) if store is None else store),
                RunRequest(key, turn),
                listener=listen,
            )
        )
    except NodeError as error:
        raise _with_advice(error, graph, assumptions) from error.__cause__
    finally:
        CAPTURED_PROMPTS.reset(token)
    return _rendering(graph.name, run, _prompts(emitted, assumptions, rendered))


def _parts(named: Sequence[str | Part]) -> tuple[Part, ...]:
    if not named:
        return ()
    # Lazy: few prompts are rendered with any.
    from ...attachments import parts_by_name  # noqa: PLC0415

    return parts_by_name(named)


def _without_limits(prepared: PreparedGraph) -> PreparedGraph:
    """The prepared graph without budgets, retries and fallback models."""
    return replace(
        prepared,
        models={node_id: specs[:1] for node_id, specs in prepared.models.items()},
        graph=prepared.graph.model_copy(update={"budget": None, "retry": None}),
        inner={node_id: _without_limits(inner) for node_id, inner in prepared.inner.items()},
    )


async def _run(execution: Coroutine[object, object, Run]) -> Run:
    """The run; one in which every node that could answer was skipped has its prompts too."""
    try:
        run = await execution
    except NoAnswer as error:
        run = cast("Run", error.run)
    except NodeError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        raise
    for record in run.records.values():
        if record.error is not None:  # `on_error` would hide it in a real run
            raise NodeError(record.node, record.error, run=run)
    return run


def _with_advice(error: NodeError, graph: Graph, assumptions: Assumptions) -> NodeError:
    """The error; for a prompt that reads samples of unknown types, with what to do about these.

    The output of a kind that `Rehearses` what it `NamesPython` for is a sample.
    """
    failed, path = error, ROOT
    while isinstance(failed.__cause__, NodeError):  # of the graph inside the node
        path, failed = path.child(failed.node_id), failed.__cause__
        graph = cast("Graph", graph_in(graph.nodes[path.node_id]))
    if not isinstance(failed.__cause__, PromptError):
        return error
    samples = [
        path.child(source)
        for source in graph.plan.stops[NodePath(failed.node_id).node_id].sources
        if issubclass(type(graph.nodes[source]), Rehearses)
        and issubclass(type(graph.nodes[source]), NamesPython)
    ]
    for sample in samples:
        if sample not in assumptions.values:
            text = f"{error.reason}; in a dry run the output of {sample!r} is a sample: annotate "
            text += f"what its function returns, or assume its output: --assume {sample}=..., in "
            text += f"Python assume={{{sample!r}: ...}}"
            return NodeError(error.node_id, text, run=error.run)
    return error


def _prompts(
    emitted: Sequence[PromptRendered], assumptions: Assumptions, rendered: Sequence[CapturedPrompt]
) -> Mapping[str, Sequence[RenderedPrompt]]:
    """The prompts by node path, each with what it was rendered from."""
    prompts: dict[str, list[RenderedPrompt]] = {}
    made_from = {id(one.messages): one for one in rendered}
    left = {node_id: iter(requests) for node_id, requests in assumptions.requests.items()}
    for event in emitted:
        node = str(event.node)
        if event.model == PERSON:
            request = Request(PERSON, event.messages)
        else:
            request = next(left[event.model])
        prompt = RenderedPrompt.of(event.prompt, request, made_from[id(request.messages)])
        prompts.setdefault(node, []).append(prompt)
    return prompts


def _rendering(graph: str, run: Run, prompts: Mapping[str, Sequence[RenderedPrompt]]) -> Rendering:
    nodes = {
        node_id: RenderedNode(
            id=node_id,
            kind=record.kind,
            prompts=tuple(prompts.get(node_id, ())),
            because=record.because,
            output=record.output,
        )
        for node_id, record in run.records.items()
    }
    routes = {
        node_id: record.choices
        for node_id, record in run.records.items()
        if record.choices is not None
    }
    return Rendering(graph, nodes, routes)


def _ways(router: Node) -> list[tuple[str, ...]]:
    """What a router may choose: nothing where it may, each label alone, all that it can at once."""
    labels, (fewest, most) = tuple(branches_of(router)), takes_of(router)
    ways = dict.fromkeys([(), *((label,) for label in labels), labels[:most]])
    return [way for way in ways if fewest <= len(way) <= most]
