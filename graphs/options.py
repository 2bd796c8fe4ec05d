"""Options that `Agent` and `Team` have in common, and the nodes that are made of them.

Also node ids from names, and the options of Agno that have another name or place here.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Never, cast

from msgspec.structs import replace
from pydantic import BeforeValidator, Field, PlainValidator

from teamgraph import JSON, OWN_MODEL, Event, Model, ModelSpec, Policy, Retry, Store, TinyDBStore
from teamgraph.errors import DefinitionError, Problem
from teamgraph.kinds import Declared, JSONMapping, Node, Texts, misnamed, shape

from ..nodes.history_loader import HistoryLoader
from ..nodes.member import MemberTools
from ..nodes.search import Search
from ..nodes.summarizer import Summarizer

RESERVED_IDS = ("history", "team_history", "search", "router", "leader", "summary")
"""The ids of the nodes that a team has in addition to its members."""


def to_node_id(name: str) -> str:
    """Make a node id of a name: `Web Searcher` is `web_searcher`; empty if no letter is usable.

    A reserved id gets a prefix: `Search` is `member_search`.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return f"member_{slug}" if slug and (slug in RESERVED_IDS or misnamed(slug)) else slug


def member_ids(members: Iterable[Options]) -> list[str]:
    """The ids of the members of a team; those without a usable name are numbered."""
    return [
        to_node_id(member._own_id) or f"member_{index}"
        for index, member in enumerate(members, start=1)
    ]


def duplicate_ids(ids: Sequence[str]) -> list[Problem]:
    """Problems of ids that two members share, or a member and the loader of another."""
    problems: list[Problem] = []
    taken = {f"{node_id}_{what}" for node_id in ids for what in ("history", "search")}
    for index, node_id in enumerate(ids):
        path = ("members", index, "name")
        if node_id in ids[:index]:
            text = f"two members have the node id {node_id!r}, made from id or name; change one"
            problems.append(Problem("G010", text, path=path))
        elif node_id in taken:
            text = (
                f"another node of the team has the id {node_id!r}; change the member's id or name"
            )
            problems.append(Problem("G010", text, path=path))
    return problems


_LEAVE = "leave it out: "
_NOT_HERE: Mapping[str, Sequence[str]] = {
    "a `python` node or a tool that searches; `search_session_history` searches conversations": (
        *("knowledge", "search_knowledge", "knowledge_retriever", "knowledge_filters", "retriever"),
        *("add_knowledge_to_context", "update_knowledge", "enable_agentic_knowledge_filters"),
    ),
    "state of the session (`session_state`) and summaries (`enable_session_summaries`)": (
        *("memory", "memory_manager", "enable_agentic_memory", "enable_user_memories"),
        *("update_memory_on_run", "add_memories_to_context", "enable_user_memory"),
        *("culture_manager", "enable_agentic_culture", "add_culture_to_context"),
        *("learning", "add_learnings_to_context"),
    ),
    "a model that reasons, with its parameters in `model`": (
        *("reasoning", "reasoning_model", "reasoning_agent", "reasoning_min_steps"),
        *("reasoning_max_steps",),
    ),
    "nodes of the graph (`team.graph`) before and after it": (
        *("pre_hooks", "post_hooks", "parser_model", "parser_model_prompt", "output_model"),
        *("output_model_prompt", "tool_hooks", "guardrails", "compress_tool_results"),
        *("compression_manager", "followups"),
    ),
    "events of `stream`, and the records of a run": ("monitoring", "stream_intermediate_steps"),
    "a fallback in `model`: {id: ..., fallback: [...]}": ("fallback_models", "fallback_config"),
    "`instructions`, or a prompt of your own": (
        *("introduction", "add_name_to_context", "add_location_to_context", "timezone_identifier"),
        *("add_member_tools_to_context", "get_member_information_tool"),
    ),
}
"""Options of Agno for what teamgraph has not, by what there is in its place."""
_IN_GRAPH = "set it in the graph (`team.graph`, or the file that it dumps): "
ALTERNATIVES: Mapping[str, str] = {
    "add_history_to_messages": "use add_history_to_context",
    "add_session_summary_to_context": f"{_LEAVE}prompts with the history also have the summary",
    "additional_context": "use `instructions`",
    "additional_input": "write it into a prompt of your own",
    "cache_session": f"{_LEAVE}nothing is cached on the object",
    "checkpoint": f"{_LEAVE}every record is stored when its node finishes",
    "debug_mode": "`teamgraph runs show RUN_ID --prompt` shows what was sent",
    "delay_between_retries": "use retries=Retry(times=..., wait=...)",
    "exponential_backoff": "use retries, which waits twice as long each time",
    "enable_agentic_state": "use a tool with a parameter of the type ToolContext",
    "expected_output": "use `instructions`",
    "conversation_limit": f"{_LEAVE}it reads the turns since the last summary",
    "input_schema": "a message is text; pass values as `state` of a run",
    "last_n_runs": f"{_LEAVE}it reads the turns since the last summary",
    "max_tool_calls_from_history": f"{_IN_GRAPH}`tool_calls` of a history-loader",
    "metadata": "pass it as `session_state`, or as `state` of a run",
    "num_history_responses": "use num_history_runs",
    "num_past_sessions_to_search": "use num_history_sessions",
    "overwrite_db_session_state": "pass `state` to the run, which replaces stored keys",
    "response_model": "use output_schema",
    "returns": "use output_schema",
    "search_past_sessions": "use search_session_history",
    "search_previous_sessions_history": "use search_session_history",
    "show_tool_calls": "read the events of `stream`, or the exchanges in `run.records`",
    "storage": "use db",
    "store_events": f"{_LEAVE}the record of each node is stored",
    "store_history_messages": f"{_LEAVE}replayed messages are stored as references",
    "store_tool_messages": f"{_LEAVE}tool calls and results are stored; replay is optional",
    "stream": "call `stream`, or `print_response(..., stream=True)`",
    "send_media_to_model": f"{_LEAVE}a template says what is sent: {{% attach %}}",
    "store_media": f"{_LEAVE}what is attached is stored once in each session",
    "structured_outputs": f"{_LEAVE}what the model's server can do is used",
    "success_criteria": "use `instructions`",
    "team_session_state": "use session_state",
    **{
        option: f"what comes closest: {instead}"
        for instead, options in _NOT_HERE.items()
        for option in options
    },
}
"""Options of Agno that do not exist here, with the alternative."""


ALTERNATIVE_METHODS: Mapping[str, str] = {
    "acontinue_run": "use runner.aresume(run_id)",
    "cancel_run": "close the stream, or cancel the task that awaits arun",
    "continue_run": "use runner.resume(run_id)",
    "deep_copy": "it is immutable; use model_copy(update={...}), or the same object",
    "get_session": "use session(session_id, user_id=...)",
    "get_session_messages": "use get_messages_for_session",
    "get_session_metrics": "use session(session_id, user_id=...).metrics()",
}
"""Methods of Agno that do not exist here, with the alternative."""


def with_alternative(problem: Problem) -> Problem:
    """Name the alternative in the problem of an unknown option, if there is one."""
    name = str(problem.path[0]) if len(problem.path) == 1 else ""
    if problem.code != "G001" or name not in ALTERNATIVES:
        return problem
    text = f"no such option here; {ALTERNATIVES[name]}"
    return replace(problem, message=text, suggestion=None)


MARKDOWN = "Format your answer in Markdown."
_SYSTEM_MESSAGE = r"""{% block role %}
{{ node.instructions | join("\n") }}
{% endblock %}
{% block rules %}
{% endblock %}
{% block instructions %}
{% endblock %}
"""
_CONTEXT: Mapping[str, str] = {
    "add_datetime_to_context": "\nThe current time is {{ now }}.\n",
    "add_dependencies_to_context": "\nWhat you can rely on:\n"
    '{{ node.params | tojson | fence("values") }}\n',
    "add_session_state_to_context": "\nThe state of the conversation:\n"
    '{{ session.state | tojson | fence("state") }}\n',
}
"""What options add to the block `context` of a prompt."""
IN_PROMPT: Mapping[str, str] = {
    "system_message": "write it there",
    "add_datetime_to_context": "it reads `now`",
    "add_dependencies_to_context": "it reads `node.params`",
    "add_session_state_to_context": "it reads `session.state`",
}
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
    raise ValueError("must be a model id, {id, temperature, ...}, or a Model")


def _store(value: object) -> object:
    if isinstance(value, str | os.PathLike):
        return TinyDBStore(cast("str", value))
    if value is None or callable(getattr(value, "begin", None)):
        return value
    raise ValueError("must be a store, such as TinyDBStore('folder'), or the path of the folder")


def _folders(value: object) -> object:
    return (value,) if isinstance(value, str | os.PathLike) else value


def _returns(value: object) -> object:
    if value is not None:
        shape(value, name="answer")
    return value


ReturnsOption = Annotated[Any, PlainValidator(_returns)]
ModelOption = Annotated[str | ModelSpec | Model | None, PlainValidator(_model)]
StoreOption = Annotated[Store | str | os.PathLike[str] | None, PlainValidator(_store)]


class SessionSummaryManager(Declared):
    """How summaries of a session are written: the model, and the prompt.

    It holds the options `session_summary_model` and `session_summary_prompt` by Agno's names.
    """

    model: ModelOption = Field(default=None, description="The model that writes the summary.")
    session_summary_prompt: str | None = Field(
        default=None,
        min_length=1,
        description="Instructions for the summary, or a template file (`name.jinja`).",
    )

    def __init__(self, /, *others: Never, **options: Any) -> None:  # noqa: ANN401  pydantic's
        try:
            super().__init__(*others, **options)
        except DefinitionError as error:
            raise DefinitionError([with_alternative(each) for each in error.problems]) from error


class Options(Declared):
    """The options that an agent and a team have in common."""

    name: str = Field(default="", description="Its name; the node id is made from it.")
    id: str | None = Field(
        default=None, min_length=1, description="What the node id is made from, if not the name."
    )
    role: str = Field(default="", description="What the member is for; the router chooses by it.")
    description: str = Field(default="", description="Who it is; a part of the prompt.")
    instructions: Texts = Field(default=(), description="Rules that it must follow.")
    model: ModelOption = Field(default=None, description="A model id, or a `Model` object.")
    use_json_mode: bool = Field(
        default=False,
        description="Whether structured answers are asked for as any JSON, without a schema.",
    )
    allow_api_base: Sequence[str] = Field(
        default=(), description="Addresses to which its models may send prompts; see `Runner`."
    )
    retries: Annotated[int, Field(ge=0, strict=True)] | Retry | None = Field(
        default=None, description="Attempts after a failed one."
    )
    tools: MemberTools = Field(
        default=(), description="Functions and graphs that its model may call."
    )
    tool_call_limit: int | None = Field(
        default=None,
        ge=1,
        strict=True,
        description="How many replies of one answer may call tools; default 5.",
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        description="A template file (`name.jinja`) or the template itself, instead of the "
        "built-in one.",
    )
    prompts: Annotated[Sequence[str | os.PathLike[str]], BeforeValidator(_folders)] = Field(
        default=(), description="Folders with templates, before the built-in ones."
    )
    system_message: str | None = Field(
        default=None,
        min_length=1,
        description="A text in place of role, rules and instructions in the prompt.",
    )
    dependencies: JSONMapping = Field(
        default_factory=dict[str, JSON],
        description="Values that its prompts read as `node.params.KEY`.",
    )
    add_dependencies_to_context: bool = Field(
        default=False, description="Whether the prompt has the dependencies, as JSON."
    )
    add_session_state_to_context: bool = Field(
        default=False, description="Whether the prompt has the session's state, as JSON."
    )
    add_datetime_to_context: bool = Field(
        default=False, description="Whether the prompt has the date and time."
    )
    telemetry: bool = Field(default=False, description="Nothing: there is none to switch off.")
    store: StoreOption = Field(default=None, description="Where its sessions are stored.")
    db: StoreOption = Field(default=None, description="An alias of `store`.")
    busy: Policy = Field(
        default="serialize",
        description="If the session has a turn in progress: wait, fail or run concurrently.",
    )
    listeners: Sequence[Callable[[Event], None]] = Field(
        default=(), description="Functions that get every event of its runs; see `Runner`."
    )
    user_id: str | None = Field(
        default=None, min_length=1, description="The user of calls that pass none."
    )
    session_id: str | None = Field(
        default=None, min_length=1, description="The session of calls that pass none."
    )
    session_state: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON], description="The initial state of a session."
    )
    add_history_to_context: bool = Field(
        default=False, description="Whether the prompt has earlier turns."
    )
    num_history_runs: int | None = Field(
        default=None, ge=0, strict=True, description="How many turns; default 3."
    )
    num_history_messages: int | None = Field(
        default=None, ge=0, strict=True, description="At most this many messages of them."
    )
    read_chat_history: bool = Field(
        default=False, description="Whether the model has a tool that reads the conversation."
    )
    read_tool_call_history: bool = Field(
        default=False, description="Whether the model has a tool that reads earlier tool calls."
    )
    search_session_history: bool = Field(
        default=False, description="Whether the prompt has turns of the user's other sessions."
    )
    num_history_sessions: int | None = Field(
        default=None, ge=1, strict=True, description="How many other sessions; default 2."
    )
    session_summary_manager: SessionSummaryManager | None = Field(
        default=None,
        description="Model and prompt of the summary in one object; it enables summaries.",
    )
    enable_session_summaries: bool = Field(
        default=False, description="Whether a summary of the session is written and shown."
    )
    session_summary_model: ModelOption = Field(
        default=None, description="The model that writes the summary."
    )
    session_summary_prompt: str | None = Field(
        default=None,
        min_length=1,
        description="Instructions for the summary, or a template file (`name.jinja`).",
    )
    output_schema: ReturnsOption = Field(
        default=None,
        description="The type of the answer, as `returns` of a node declares it: a pydantic model, "
        "a dataclass, a TypedDict, or `{lang: 'english|french'}`.",
    )
    markdown: bool = Field(default=False, description="Whether answers are in Markdown.")

    def __init__(self, /, *others: Never, **options: Any) -> None:  # noqa: ANN401  pydantic's
        try:
            super().__init__(*others, **options)
        except DefinitionError as error:
            raise DefinitionError([with_alternative(each) for each in error.problems]) from error

    def _conflicts(self) -> list[Problem]:
        """Problems of options that contradict each other."""
        problems: list[Problem] = []
        if self.store is not None and self.db is not None:
            problems.append(option_conflict("db", "'db' is an alias of 'store'; keep one"))
        for option, needed in _NEEDS.items():
            if getattr(self, option) is not None and not getattr(self, needed):
                text = f"{option} has no effect without {needed}=True; add that, or leave it out"
                problems.append(option_conflict(option, text))
        if self.session_summary_manager is not None:
            problems += [
                option_conflict(option, f"session_summary_manager has it; leave {option} out")
                for option in ("session_summary_model", "session_summary_prompt")
                if getattr(self, option) is not None
            ]
        if self.allow_api_base and not isinstance(self.model, str | ModelSpec | None):
            text = "allow_api_base is for models that are named by ids, and `model` is an object; "
            text += "pass it to the object, such as AnyModel(..., allow_api_base=[...])"
            problems.append(option_conflict("allow_api_base", text))
        if self.use_json_mode and not isinstance(self.model, str | ModelSpec):
            text = "use_json_mode is a parameter of a model that is named by its id; "
            text += "name one, or set `structured: json` where it is named"
            problems.append(option_conflict("use_json_mode", text))
        if self.prompt is not None:
            problems += [
                option_conflict(option, f"with a prompt of your own, leave {option} out: {text}")
                for option, text in IN_PROMPT.items()
                if getattr(self, option)
            ]
        return problems

    @property
    def _own_id(self) -> str:
        """What its node id is made from."""
        return self.id or self.name

    @property
    def _named_model(self) -> str | ModelSpec | Model | None:
        """The model with what `use_json_mode` adds."""
        model = self.model
        if not self.use_json_mode or not isinstance(model, str | ModelSpec):
            return model
        given = {"id": model} if isinstance(model, str) else model.model_dump(exclude_unset=True)
        return ModelSpec(**{**given, "structured": "json"})

    @property
    def _summarizes(self) -> bool:
        return self.enable_session_summaries or self.session_summary_manager is not None

    @property
    def _summary_model(self) -> str | ModelSpec | Model | None:
        manager = self.session_summary_manager
        return self.session_summary_model if manager is None else manager.model

    def _changed(self, base: str) -> dict[str, Any]:
        """The fields of its node that options change, from their defaults.

        Its template is one of its own, or `base` with blocks that options change.
        """
        fields: dict[str, Any] = {}
        if self.tool_call_limit is not None:
            fields["max_tool_rounds"] = self.tool_call_limit
        prompt = self._template(base) if self.prompt is None else self.prompt
        return fields if prompt is None else {**fields, "prompt": prompt}

    def _template(self, base: str) -> str | None:
        """`base` with the blocks that options change, None if they change none."""
        added = [text for option, text in _CONTEXT.items() if getattr(self, option)]
        blocks = [_SYSTEM_MESSAGE] if self.system_message is not None else []
        if added:
            inside = "".join(added)
            blocks.append(f"{{% block context %}}\n{{{{ super() }}}}{inside}{{% endblock %}}\n")
        return "".join([f'{{% extends "{base}" %}}\n', *blocks]) if blocks else None

    @property
    def _any_store(self) -> Store | None:
        return cast("Store | None", self.store if self.store is not None else self.db)

    def _objects(self) -> dict[str, Model]:
        """The model objects, by the paths of the nodes and inner graphs that use them."""
        return model_objects({"summary": self._summary_model})

    @property
    def _remembers(self) -> bool:
        """Whether earlier turns of the session are read."""
        return self.add_history_to_context or bool(self._session_tools)

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
        if self.add_history_to_context or self._summarizes:
            loaders["history"] = self.loader()
        if self.search_session_history:
            loaders["search"] = self.searcher()
        return loaders

    def searcher(self) -> Search:
        """The search node of these options."""
        return Search(sessions=self.num_history_sessions or 2)

    def loader(self, *, of: str | None = None) -> HistoryLoader:
        """The history-loader of these options; with `of`, of the turns of that node."""
        runs, messages = self.num_history_runs, self.num_history_messages
        if not self.add_history_to_context:
            return HistoryLoader(runs=0)
        if runs is None and messages is not None:
            return HistoryLoader(messages=messages, of=of)
        return HistoryLoader(runs=3 if runs is None else runs, messages=messages, of=of)

    def _summarizers(self) -> dict[str, Node]:
        if not self._summarizes:
            return {}
        manager = self.session_summary_manager
        prompt = manager.session_summary_prompt if manager else self.session_summary_prompt
        model = model_id(self._summary_model, "summary")
        if prompt is not None and prompt.endswith(".jinja") and "\n" not in prompt:
            return {"summary": Summarizer(model=model, prompt=prompt)}
        return {"summary": Summarizer(model=model, instructions=[prompt] if prompt else [])}


def model_objects(models: Mapping[str, str | ModelSpec | Model | None]) -> dict[str, Model]:
    """Those of the models that are objects; a graph refers to them by ids."""
    return {
        path: model
        for path, model in models.items()
        if model is not None and not isinstance(model, str | ModelSpec)
    }


def model_id(model: str | ModelSpec | Model | None, path: str) -> str | ModelSpec | None:
    """The id by which a graph refers to the model of the node, or inner graph, at `path`.

    None for a model object of the outermost graph, whose path is empty: the runner has it.
    """
    if model is None or isinstance(model, str | ModelSpec):
        return model
    return f"{OWN_MODEL}{path}" if path else None


def option_conflict(option: str, text: str) -> Problem:
    """The problem of an option that contradicts others."""
    return Problem("G007", text, path=(option,), on_key=True)
