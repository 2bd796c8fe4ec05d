"""What people say about an agent or a team, and the nodes that some of it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import Field, PlainValidator

from engine import (
    JSON,
    OWN_MODEL,
    Declared,
    DefinitionError,
    Model,
    ModelSpec,
    Node,
    Policy,
    Problem,
    Store,
    Texts,
    Tools,
)
from nodes import HistoryLoader, Search, Summarizer

from .elsewhere import translated

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
    """The options that an agent and a team have in common."""

    name: str = Field(default="", description="What it is called; its id is made of it.")
    role: str = Field(default="", description="What it is for, in a team.")
    description: str = Field(default="", description="Who it is, as it is told.")
    instructions: Texts = Field(default=(), description="Rules that it follows.")
    model: Asked = Field(default=None, description="The id of a model, or a model itself.")
    tools: Tools = Field(default=(), description="Functions that its model may call.")
    store: AnyStore = Field(default=None, description="Where its sessions are kept.")
    db: AnyStore = Field(default=None, description="Another word for `store`.")
    busy: Policy = Field(
        default="serialize", description="What a call does while its session is busy; see `Runner`."
    )
    user_id: str | None = Field(default=None, min_length=1, description="Whose sessions they are.")
    session_id: str | None = Field(default=None, min_length=1, description="The usual session.")
    session_state: Mapping[str, JSON] = Field(
        default_factory=dict[str, JSON], description="Defaults of the session's state."
    )
    add_history_to_context: bool = Field(
        default=False, description="Whether earlier turns go to the model that answers."
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
        default=False, description="Whether a summary of the session is kept and shown."
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
        """What cannot hold together, with the option that it is about."""
        problems: list[Problem] = []
        if self.store is not None and self.db is not None:
            problems.append(
                conflict("db", "'store' and 'db' are two words for one thing; keep one")
            )
        for option, needed in _NEEDS.items():
            if getattr(self, option) is not None and not getattr(self, needed):
                text = f"{option} has no effect without {needed}=True; add that, or leave it out"
                problems.append(conflict(option, text))
        return problems

    @property
    def _kept_in(self) -> Store | None:
        return self.store if self.store is not None else self.db

    def _objects(self) -> dict[str, Model]:
        """The models that are objects, by the paths of the nodes and inner graphs they are for."""
        return objects({"summary": self.session_summary_model})

    @property
    def _rules(self) -> tuple[str, ...]:
        return (*self.instructions, *([MARKDOWN] if self.markdown else ()))

    @property
    def _session_tools(self) -> tuple[str, ...]:
        names = ("read_chat_history", "read_tool_call_history")
        return tuple(name for name in names if getattr(self, name))

    def _loaders(self) -> dict[str, Node]:
        """The nodes that bring earlier words: of this session, and of others."""
        loaders: dict[str, Node] = {}
        if self.add_history_to_context or self.enable_session_summaries:
            loaders["history"] = self.loader()
        if self.search_session_history:
            loaders["search"] = self.searcher()
        return loaders

    def searcher(self) -> Search:
        """The search that the options ask for."""
        return Search(sessions=self.num_history_sessions or 2)

    def loader(self, *, of: str | None = None) -> HistoryLoader:
        """The history that the options ask for; with `of`, what that node said."""
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
    """Those of the models that are objects, which no graph can hold."""
    return {
        path: model
        for path, model in models.items()
        if model is not None and not isinstance(model, str | ModelSpec)
    }


def model_id(model: str | ModelSpec | Model | None, path: str) -> str | ModelSpec | None:
    """How a graph names the model of the node, or of the graph inside one, at this path.

    The outermost graph has no path: where it names none, a model that is an object is asked.
    """
    if model is None or isinstance(model, str | ModelSpec):
        return model
    return f"{OWN_MODEL}{path}" if path else None


def conflict(option: str, text: str) -> Problem:
    """An option that does not hold beside the others."""
    return Problem("G007", text, path=(option,), on_key=True)
