"""The options that `Agent` and `Team` share, ids made from names, and Agno's option names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from msgspec.structs import replace
from pydantic import Field, PlainValidator

from teamgraph import JSON, OWN_MODEL, Model, ModelSpec, Policy, Store
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Declared, Node, Texts, Tools, misnamed

from ..nodes.history_loader import HistoryLoader
from ..nodes.search import Search
from ..nodes.summarizer import Summarizer

OWN = ("history", "team_history", "search", "router", "leader", "summary")
"""The ids of the nodes that a team has beside its members."""


def node_id_of(name: str) -> str:
    """A name as a node id: `Web Searcher` is `web_searcher`; empty if no character can be used.

    A name that is taken, such as `Search`, has a prefix: `member_search`.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return f"member_{slug}" if slug and (slug in OWN or misnamed(slug)) else slug


def member_ids(names: Sequence[str]) -> list[str]:
    """The ids of the members of a team; those without a usable name are numbered."""
    return [node_id_of(name) or f"member_{index}" for index, name in enumerate(names, start=1)]


def clashes(ids: Sequence[str]) -> list[Problem]:
    """Problems with ids that two members share, or a member and another node of the team."""
    problems: list[Problem] = []
    taken = {f"{node_id}_{what}" for node_id in ids for what in ("history", "search")}
    for index, node_id in enumerate(ids):
        path = ("members", index, "name")
        if node_id in ids[:index]:
            text = f"two members have the id {node_id!r}, made from their names; rename one"
            problems.append(Problem("G010", text, path=path))
        elif node_id in taken:
            text = f"the id {node_id!r} is that of another node of the team; rename the member"
            problems.append(Problem("G010", text, path=path))
    return problems


_LEAVE = "leave it out: "
_IN_GRAPH = "set it where the graph says it, in `team.graph` or in the file that it dumps: "
ELSEWHERE: Mapping[str, str] = {
    "add_datetime_to_context": "read `now` in a prompt of your own",
    "add_history_to_messages": "it is called add_history_to_context",
    "add_session_state_to_context": "read `session.state` in a prompt of your own",
    "add_session_summary_to_context": f"{_LEAVE}a summary is shown where the history is",
    "additional_context": "say it in `instructions`",
    "additional_input": "write it into a prompt of your own",
    "cache_session": f"{_LEAVE}nothing is cached, a turn costs the same in a long session",
    "checkpoint": f"{_LEAVE}what each node did is stored as soon as it is done",
    "debug_mode": "`teamgraph runs show RUN_ID --prompt` tells what was sent",
    "dependencies": "give it as `session_state`, or as `state` of a run",
    "enable_agentic_state": "give a tool with a parameter of the type ToolContext",
    "expected_output": "say it in `instructions`",
    "id": f"{_LEAVE}the id is made of the name",
    "max_tool_calls_from_history": f"{_IN_GRAPH}`tool_calls` of a history-loader",
    "metadata": "give it as `session_state`, or as `state` of a run",
    "mode": "respond_directly=True is route, delegate_to_all_members=True is broadcast, "
    "and neither is coordinate",
    "num_history_responses": "it is called num_history_runs",
    "output_schema": f"{_IN_GRAPH}`returns` of a node",
    "overwrite_db_session_state": "give `state` to the run: it counts more than what is stored",
    "response_model": f"{_IN_GRAPH}`returns` of a node",
    "retries": f"{_IN_GRAPH}`retry`",
    "search_past_sessions": "it is called search_session_history",
    "session_summary_manager": "give session_summary_model and session_summary_prompt",
    "show_members_responses": "read `run.records[member].output`, or the events of `stream`",
    "show_tool_calls": "read the events of `stream`, or the exchanges in `run.records`",
    "storage": "it is called db",
    "store_events": f"{_LEAVE}the record of each node is stored",
    "store_history_messages": f"{_LEAVE}replayed messages are stored as references",
    "store_tool_messages": f"{_LEAVE}tool calls and results are stored, and not replayed",
    "stream": "call `stream`, or `print_response(..., stream=True)`",
    "success_criteria": "say it in `instructions`",
    "tool_call_limit": f"{_IN_GRAPH}`max_tool_rounds` of a member",
}
"""Options that Agno has under another name or not in this place, with what to do instead."""


def translated(problem: Problem) -> Problem:
    """The problem of an unknown option, with the advice of `ELSEWHERE` if it is listed there."""
    name = str(problem.path[0]) if len(problem.path) == 1 else ""
    if problem.code != "G001" or name not in ELSEWHERE:
        return problem
    text = f"there is no {name!r} here; {ELSEWHERE[name]}"
    return replace(problem, message=text, suggestion=None)


MARKDOWN = "Format your answer in Markdown."
_NEEDS = {
    "num_history_runs": "add_history_to_context",
    "num_history_messages": "add_history_to_context",
    "num_history_sessions": "search_session_history",
    "session_summary_model": "enable_session_summaries",
    "session_summary_prompt": "enable_session_summaries",
}


def _model(value: object) -> object:
    if isinstance(value, Mapping):
        return ModelSpec(**cast("Mapping[str, Any]", value))
    if value is None or isinstance(value, str | ModelSpec) or callable(getattr(value, "ask", None)):
        return value
    raise ValueError("must be the id of a model, {id, temperature, ...}, or a Model")


def _store(value: object) -> object:
    if value is None or callable(getattr(value, "begin", None)):
        return value
    raise ValueError("must be a store, such as TinyDBStore('folder')")


Asked = Annotated[str | ModelSpec | Model | None, PlainValidator(_model)]
AnyStore = Annotated[Store | None, PlainValidator(_store)]


class Options(Declared):
    """The options that `Agent` and `Team` share."""

    name: str = Field(default="", description="Its name; its id is made from it.")
    role: str = Field(default="", description="What it is for, in a team.")
    description: str = Field(default="", description="Who it is; the model is told this.")
    instructions: Texts = Field(default=(), description="Rules that it follows.")
    model: Asked = Field(default=None, description="The id of a model, or a model itself.")
    tools: Tools = Field(default=(), description="Functions that its model may call.")
    store: AnyStore = Field(default=None, description="Where its sessions are stored.")
    db: AnyStore = Field(default=None, description="The same as `store`.")
    busy: Policy = Field(
        default="serialize", description="What a call does while its session is busy; see `Runner`."
    )
    user_id: str | None = Field(default=None, min_length=1, description="Whose sessions they are.")
    session_id: str | None = Field(default=None, min_length=1, description="The usual session.")
    session_state: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON], description="Defaults of the session's state."
    )
    add_history_to_context: bool = Field(
        default=False, description="Whether earlier turns are sent to the model that answers."
    )
    num_history_runs: int | None = Field(
        default=None, ge=0, strict=True, description="How many turns; 3 if left out."
    )
    num_history_messages: int | None = Field(
        default=None, ge=0, strict=True, description="The most messages of these turns."
    )
    read_chat_history: bool = Field(
        default=False, description="Whether the model may read the conversation with a tool."
    )
    read_tool_call_history: bool = Field(
        default=False, description="Whether the model may read earlier tool calls with a tool."
    )
    search_session_history: bool = Field(
        default=False, description="Whether the model sees the user's other sessions."
    )
    num_history_sessions: int | None = Field(
        default=None, ge=1, strict=True, description="How many other sessions; 2 if left out."
    )
    enable_session_summaries: bool = Field(
        default=False, description="Whether a summary of the session is written and shown."
    )
    session_summary_model: Asked = Field(default=None, description="The model that summarizes.")
    session_summary_prompt: str | None = Field(
        default=None,
        min_length=1,
        description="How to summarize, in words; or a template file (`name.jinja`).",
    )
    markdown: bool = Field(default=False, description="Whether answers are in Markdown.")

    def __init__(self, /, **options: Any) -> None:  # noqa: ANN401  pydantic's signature
        try:
            super().__init__(**options)
        except DefinitionError as error:
            raise DefinitionError([translated(each) for each in error.problems]) from error

    def _conflicts(self) -> list[Problem]:
        """Options that contradict each other, as problems at one of them."""
        problems: list[Problem] = []
        if self.store is not None and self.db is not None:
            problems.append(conflict("db", "'store' and 'db' are the same option; remove one"))
        for option, needed in _NEEDS.items():
            if getattr(self, option) is not None and not getattr(self, needed):
                text = f"{option} has no effect without {needed}=True; add that, or leave it out"
                problems.append(conflict(option, text))
        return problems

    @property
    def _own_store(self) -> Store | None:
        return self.store if self.store is not None else self.db

    def _objects(self) -> dict[str, Model]:
        """The models that are objects, by the path of the node or inner graph they are for."""
        return objects({"summary": self.session_summary_model})

    @property
    def _rules(self) -> tuple[str, ...]:
        return (*self.instructions, *([MARKDOWN] if self.markdown else ()))

    @property
    def _session_tools(self) -> tuple[str, ...]:
        names = ("read_chat_history", "read_tool_call_history")
        return tuple(name for name in names if getattr(self, name))

    def _loaders(self) -> dict[str, Node]:
        """The nodes that load earlier turns: of this session, and of others."""
        loaders: dict[str, Node] = {}
        if self.add_history_to_context or self.enable_session_summaries:
            loaders["history"] = self.loader()
        if self.search_session_history:
            loaders["search"] = self.searcher()
        return loaders

    def searcher(self) -> Search:
        """The search node that the options declare."""
        return Search(sessions=self.num_history_sessions or 2)

    def loader(self, *, of: str | None = None) -> HistoryLoader:
        """The history-loader that the options declare; with `of`, for the turns of that node."""
        runs, messages = self.num_history_runs, self.num_history_messages
        if not self.add_history_to_context:
            return HistoryLoader(runs=0)
        if runs is None and messages is not None:
            return HistoryLoader(messages=messages, of=of)
        return HistoryLoader(runs=3 if runs is None else runs, messages=messages, of=of)

    def _summarizers(self) -> dict[str, Node]:
        if not self.enable_session_summaries:
            return {}
        prompt = self.session_summary_prompt
        model = model_id(self.session_summary_model, "summary")
        if prompt is not None and prompt.endswith(".jinja") and "\n" not in prompt:
            return {"summary": Summarizer(model=model, prompt=prompt)}
        return {"summary": Summarizer(model=model, instructions=[prompt] if prompt else [])}


def objects(models: Mapping[str, str | ModelSpec | Model | None]) -> dict[str, Model]:
    """The models that are objects, which a graph cannot contain."""
    return {
        path: model
        for path, model in models.items()
        if model is not None and not isinstance(model, str | ModelSpec)
    }


def model_id(model: str | ModelSpec | Model | None, path: str) -> str | ModelSpec | None:
    """How a graph names the model of the node, or of the graph inside one, at this path.

    The outermost graph has no path: if it names no model, the object is used.
    """
    if model is None or isinstance(model, str | ModelSpec):
        return model
    return f"{OWN_MODEL}{path}" if path else None


def conflict(option: str, text: str) -> Problem:
    """The problem of an option that contradicts others."""
    return Problem("G007", text, path=(option,), on_key=True)
