"""`/api/graphs` and `/api/prompts`: what is served, rendered prompts, and recorded templates."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import Mapping
from functools import partial

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from ..errors import NotFound
from ..messages import JSON
from ..prompts.difference import difference
from ..run.json_forms import rendering_as_json
from ..run.resume import RunReference
from .access import caller
from .http import Body, json_response, path_parameter, read_json, read_query
from .openapi import Operation
from .server import server_of


class NoParameters(Body):
    """Nothing: all graphs are listed."""


class RenderBody(Body):
    """A message to render all prompts of a run for."""

    graph: str | None = Field(None, description="The graph; may be left out if there is one.")
    message: str = Field(description="The user's message.")
    user_id: str | None = Field(
        None, min_length=1, description="The user; ignored where the login says it."
    )
    session_id: str | None = Field(None, description="Render the next turn of this session.")
    assume: Mapping[str, JSON] | None = Field(None, description="Outputs of nodes, by id.")
    state: Mapping[str, JSON] | None = Field(None, description="Keys of `session.state` to set.")


class PromptQuery(Body):
    """Which templates to compare with, and the run that used the prompt."""

    user_id: str | None = Field(
        None, min_length=1, description="The user; ignored where the login says it."
    )
    run_id: str | None = Field(None, description="A run that used it; needed with a login.")
    session_id: str | None = Field(None, description="The session of the run.")
    against: str | None = Field(None, description="The hash of another prompt to compare with.")


async def list_graphs(request: Request) -> Response:
    """List the graphs with their nodes and edges."""
    read_query(request, NoParameters)
    return json_response(
        {
            "graphs": [
                {
                    "name": name,
                    "description": runner.graph.description,
                    "nodes": [
                        {"id": node_id, "kind": node.kind, "description": node.description}
                        for node_id, node in runner.graph.nodes.items()
                    ],
                    "edges": [
                        {"source": edge.source, "target": edge.target, "kind": edge.kind}
                        for edge in runner.graph.plan.edges
                    ],
                }
                for name, runner in server_of(request).runners.items()
            ]
        }
    )


async def render_prompts(request: Request) -> Response:
    """Render every prompt of a run without a model, with where each text came from."""
    body = await read_json(request, RenderBody)
    runner = server_of(request).named(body.graph)
    render = partial(
        runner.render,
        body.message,
        assume=body.assume,
        user_id=caller(request).user(body.user_id),
        session_id=body.session_id,
        state=body.state,
    )
    rendering = await to_thread(render)
    return json_response({"prompts": rendering_as_json(rendering, [*rendering], came_from=True)})


async def show_prompt(request: Request) -> Response:
    """Show the templates of a recorded prompt by its hash, or how another one differs."""
    query = read_query(request, PromptQuery)
    prompt_hash = path_parameter(request, "prompt_hash")
    sources = await _sources(request, query, prompt_hash)
    answer: dict[str, JSON] = {"hash": prompt_hash, "sources": {**sources}}
    if query.against is not None:
        other = await _sources(request, query, query.against)
        answer["differences"] = {
            name: difference(name, sources.get(name), other.get(name, ""))
            for name in {**sources, **other}
        }
    return json_response(answer)


async def _sources(request: Request, query: PromptQuery, prompt_hash: str) -> Mapping[str, str]:
    """The templates under a hash; for a login only those that a run of its user has used."""
    may_read = not caller(request).is_fixed or await _has_used(request, query, prompt_hash)
    sources = await server_of(request).store.prompt(prompt_hash) if may_read else None
    if sources is None:
        raise NotFound(
            f"there is no prompt {prompt_hash!r} here; GET /api/runs/RUN_ID?prompts=true has the "
            "hashes of a run's, and with a login that run has to be named: run_id=..."
        )
    return sources


async def _has_used(request: Request, query: PromptQuery, prompt_hash: str) -> bool:
    if query.run_id is None:
        return False
    user_id = caller(request).user(query.user_id)
    reference = RunReference(query.run_id, user_id, query.session_id)
    run = await reference.load(server_of(request).store)
    return any(
        exchange.prompt_hash == prompt_hash
        for record in run.records.values()
        for exchange in record.exchanges
    )


operations = (
    Operation("GET", "/api/graphs", list_graphs, query=NoParameters),
    Operation("POST", "/api/prompts/render", render_prompts, body=RenderBody),
    Operation("GET", "/api/prompts/{prompt_hash}", show_prompt, query=PromptQuery),
)
