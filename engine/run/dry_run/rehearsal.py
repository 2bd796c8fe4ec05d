"""A dry run: the real scheduler and the real visitor, with a model that assumes its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

from msgspec import Struct, field
from msgspec.structs import replace

from ...blocking import result_of
from ...errors import InputError, NoAnswer, NodeError, NotFound
from ...events import Event, Listener, PromptRendered
from ...graph.fields import ModelSpec
from ...graph.graph import MESSAGE, Graph
from ...graph.node import Node, branches_of, takes_of
from ...messages import JSON
from ...prompts.rendered import RENDERED, Rendered
from ...records import Run, SessionKey, Turn
from ...session.store import Store
from ..execution import Turning
from ..prepared import PreparedGraph, prepare
from .assumptions import Assumptions, JSONs, assumed, found_at
from .history import Past, ReadOnly, Said
from .rendering import RenderedNode, RenderedPrompt, Rendering

RUN_ID = "run-1"
MOMENT = 946_684_800.0
"""The clock of every dry run: 2000-01-01T00:00:00Z, in Unix seconds."""
OUTCOMES = 64


class Scene(Struct, frozen=True):
    """What a dry run is given beside the graph.

    With `is_full` what stands in for an answer has every optional field; without, only what must
    be there.
    """

    message: str = MESSAGE
    assume: JSONs = field(default_factory=dict[str, object])
    history: Sequence[Said] = ()
    state: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    session: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    user_id: str | None = None
    is_full: bool = True


def render(graph: Graph, scene: Scene) -> Rendering:
    """Every prompt of one run, as it would be sent; raises `InputError`, or what ends the run."""
    return result_of(lambda: _rendered(graph, scene, None))


def render_all(graph: Graph, scene: Scene, *, limit: int = OUTCOMES) -> list[Rendering]:
    """One rendering for every way that the routers may take, beside what is assumed of them.

    A router that takes several labels takes each alone, and all at once. Raises `InputError` if
    there are more than `limit` ways.
    """
    renderings: list[Rendering] = []
    todo = [scene]
    while todo:
        one = todo.pop()
        rendering = render(graph, one)
        is_open = (router for router in rendering.routes if router not in one.assume)
        router = next(is_open, None)
        if router is None:
            renderings.append(rendering)
        else:
            ways = reversed(_ways(found_at(graph, router)[1]))
            todo += [replace(one, assume={**one.assume, router: way}) for way in ways]
        if len(renderings) + len(todo) > limit:
            raise InputError(
                f"graph {graph.name!r} can go more than {limit} ways; assume what some of its "
                "routers choose, or raise `limit`"
            )
    return renderings


async def render_next(graph: Graph, scene: Scene, store: Store, session_id: str) -> Rendering:
    """The prompts of the next turn of a stored session, which is only read.

    Raises `NotFound` if the user has no such session.
    """
    if await store.head(SessionKey(scene.user_id, session_id)) is None:
        whose = "there is" if scene.user_id is None else f"user {scene.user_id!r} has"
        raise NotFound(
            f"{whose} no session {session_id!r}; `teamgraph sessions list` shows those there are"
        )
    return await _rendered(graph, replace(scene, session={"id": session_id}), store)


async def _rendered(graph: Graph, scene: Scene, store: Store | None) -> Rendering:
    if not scene.message.strip():
        raise InputError("the message is empty; say something to the team")
    past = Past.of(scene.history, scene.session)
    key = SessionKey(scene.user_id, past.session_id)
    assumptions = assumed(graph, scene.assume, is_full=scene.is_full)
    turning = Turning(
        cast=_played(prepare(graph, assumptions), assumptions),
        store=ReadOnly(past.store(key) if store is None else store),
        key=key,
        turn=Turn(
            run_id=RUN_ID,
            input=scene.message,
            graph=graph.name,
            given_state=scene.state,
            started=MOMENT,
        ),
    )
    told: list[PromptRendered] = []

    def listen(event: Event) -> None:
        if isinstance(event, PromptRendered):
            told.append(event)

    rendered: list[Rendered] = []
    token = RENDERED.set(rendered)
    try:
        run = await _run(turning, listen)
    finally:
        RENDERED.reset(token)
    return _rendering(graph.name, run, _prompts(told, assumptions, rendered))


def _played(parts: PreparedGraph, assumptions: Assumptions, under: str = "") -> PreparedGraph:
    """The cast of a dry run, and those inside it: each model is called like the node that asks."""
    return replace(
        parts,
        graph=parts.graph.model_copy(update={"budget": None, "retry": None}),
        models={node_id: (ModelSpec(id=f"{under}{node_id}"),) for node_id in parts.models},
        play=partial(assumptions.play, under),
        inner={
            node_id: _played(inner, assumptions, f"{under}{node_id}/")
            for node_id, inner in parts.inner.items()
        },
    )


async def _run(turning: Turning, listen: Listener) -> Run:
    """Make the run; one in which every node that could answer was skipped has its prompts too."""
    try:
        run = await turning.run(listen)
    except NoAnswer as error:
        run = cast("Run", error.run)
    except NodeError as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from error
        raise
    for record in run.records.values():
        if record.error is not None:  # what `on_error` would hide in a real run
            raise NodeError(record.node, record.error, run=run)
    return run


def _prompts(
    told: Sequence[PromptRendered], assumptions: Assumptions, rendered: Sequence[Rendered]
) -> Mapping[str, Sequence[RenderedPrompt]]:
    """The prompts by node id; messages that were rendered are sent as they are."""
    prompts: dict[str, list[RenderedPrompt]] = {}
    made_from = {id(one.messages): one for one in rendered}
    left = {node_id: iter(requests) for node_id, requests in assumptions.requests.items()}
    for event in told:
        request = next(left[event.model])
        prompt = RenderedPrompt.of(event.prompt, request, made_from[id(request.messages)])
        prompts.setdefault(event.model, []).append(prompt)
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
