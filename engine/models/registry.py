"""The registry of models: finds the adapter for a model id by its prefix, and the default id.

An adapter is a class without arguments whose objects are a `Model`. Packages offer adapters as
entry points of the group `teamgraph.models`, each under the prefix of the ids that it serves: the
part before the first `/`. `echo`, `local` and `litellm` are offered that way too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import suppress
from threading import Thread
from typing import cast

from msgspec.structs import replace

from ..errors import InputError, NoModelError, TeamgraphError
from ..imports import load_plugin, plugins
from ..messages import JSON, Part
from ..unknown_names import explained
from ..values import check_mapping
from .catalog import UnknownId, has_price, provider, unknown_provider
from .endpoints import check_endpoint, check_key, checked_addresses
from .local.server import INSTALL, how_to_install, is_installed
from .protocol import Chunk, Model, Reply, Request, WarmsUp, takes

GROUP = "teamgraph.models"
OTHERWISE = "litellm"
"""The adapter of every id whose prefix no package offers."""

LOCAL = "local"
"""The id of the demo model, which calls no tools."""
NO_TOOLS = (
    "it cannot call tools, and the node has some; name another model for the node, or leave its "
    "tools out"
)
OWN_MODEL = "own/"
"""Prefix of the ids of models that are Python objects, passed to `AnyModel`."""

_PROVIDERS = {
    "OPENAI_API_KEY": "openai/gpt-5-mini",
    "ANTHROPIC_API_KEY": "anthropic/claude-sonnet-4-5",
    "GEMINI_API_KEY": "gemini/gemini-2.5-flash",
    "GOOGLE_API_KEY": "gemini/gemini-2.5-flash",
    "MISTRAL_API_KEY": "mistral/mistral-small-latest",
    "GROQ_API_KEY": "groq/llama-3.3-70b-versatile",
    "DEEPSEEK_API_KEY": "deepseek/deepseek-chat",
    "OPENROUTER_API_KEY": "openrouter/openai/gpt-5-mini",
    "XAI_API_KEY": "xai/grok-4",
    "COHERE_API_KEY": "cohere/command-r-plus",
    "AZURE_API_KEY": "azure/the-name-of-your-deployment",
}


class AnyModel:
    """Dispatches each request to a model by its id: an object of yours, or an installed adapter.

    `own` maps ids to objects (`{"own/critic": critic}`). `others`, if given, answers all other
    ids, so that no adapter is used; tests pass a `ScriptedModel`. An adapter is imported and
    made when an id of its prefix is first asked, once for each `AnyModel`. `allow_api_base` are
    addresses beside the providers' own to which prompts and keys may go, with all below them.
    `override` is an id to ask in place of all that a graph names.
    """

    @explained
    def __init__(
        self,
        own: Mapping[str, Model] | None = None,
        *,
        others: Model | None = None,
        allow_api_base: Collection[str] = (),
        override: str | None = None,
    ) -> None:
        self.override = override
        own = {} if own is None else own
        check_mapping("own", own, "ids to models, and one for all other ids as others=...")
        for model_id, model in (*own.items(), ("others", others)):
            if model is not None and not hasattr(model, "ask"):
                raise InputError(f"{model_id!r} is {model!r}; give a Model, which has `ask`")
        self._own = dict(own)
        self._others = others
        self._allow_api_base = checked_addresses(allow_api_base)
        self._adapters: dict[str, Model] = {}

    def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        """Stream the answer of the model that the request names; `NoModelError` if none serves it.

        The adapters' own errors come while the answer is read.
        """
        allowed = (*request.allow_api_base, *self._allow_api_base)
        return self._model(request.model).ask(replace(request, allow_api_base=allowed))

    async def warm_up(self, model_id: str) -> None:
        """Let the adapter of the id do what takes long once, such as imports; see `WarmsUp`."""
        model = self._model(model_id)
        if isinstance(model, WarmsUp):
            await model.warm_up(model_id)

    async def takes(self, request: Request, part: Part) -> bool:
        """See `TakesAttachments`: what the model that the request names says."""
        return await takes(self._model(request.model), request, part)

    def check(self, model_id: str, parameters: Mapping[str, JSON]) -> None:
        """Raise `NoModelError` if the id or its address would be refused; nothing is imported."""
        if self._is_object(model_id):
            return
        if adapter_name(model_id) == OTHERWISE:
            check_endpoint(model_id, parameters, self._allow_api_base)
        unknown = unknown_id(model_id, api_base=parameters.get("api_base"))
        if unknown is not None and unknown.is_certain:
            meant = f"; did you mean {unknown.meant}?" if unknown.meant else ""
            raise NoModelError(f"model {model_id}: {unknown.text}{meant}", model=model_id)

    def check_ready(
        self,
        model_id: str,
        parameters: Mapping[str, JSON],
        environ: Mapping[str, str],
        *,
        with_tools: bool,
    ) -> None:
        """See `ServesIds`."""
        own = self._own.get(model_id, self._others)
        if with_tools and (model_id == LOCAL or not getattr(own, "calls_tools", True)):
            raise NoModelError(f"model {model_id}: {NO_TOOLS}", model=model_id)
        if self._is_object(model_id):
            return
        if model_id == LOCAL and not is_installed(environ):
            text = f"model local: it is not installed here; {how_to_install()}"
            raise NoModelError(text, model=model_id)
        if adapter_name(model_id) == OTHERWISE:
            check_key(model_id, provider(model_id), parameters, environ)

    def default_id(self, environ: Mapping[str, str]) -> str:
        """The model of nodes for which none is named; see `default_model_id`."""
        return default_model_id(environ) if self._others is None else type(self._others).__name__

    def _is_object(self, model_id: str) -> bool:
        """Whether the id is that of a Python object, or would have to be."""
        is_own = model_id in self._own or self._others is not None
        return is_own or model_id.startswith(OWN_MODEL)

    def _model(self, model_id: str) -> Model:
        own = self._own.get(model_id, self._others)
        if own is not None:
            return own
        if model_id.startswith(OWN_MODEL):
            raise NoModelError(
                f"model {model_id}: it is an object that only Python can pass: Runner(graph, "
                f"model=AnyModel({{{model_id!r}: ...}})); or name another model for all nodes, "
                "such as --model local",
                model=model_id,
            )
        try:
            name = adapter_name(model_id)
            if name not in self._adapters:
                self._adapters[name] = _make_adapter(name)
        except TeamgraphError as error:
            raise NoModelError(f"model {model_id}: {error}", model=model_id) from error
        return self._adapters[name]


def adapter_name(model_id: str) -> str:
    """The prefix under which the adapter of this id is offered; nothing is imported.

    Raises `TeamgraphError` if two packages offer one prefix.
    """
    prefix = model_id.partition("/")[0]
    return prefix if prefix in plugins(GROUP, "model prefix") else OTHERWISE


def unknown_id(model_id: str, *, api_base: object = None) -> UnknownId | None:
    """Why no adapter would serve the id, None if one does; nothing is imported."""
    name = adapter_name(model_id)
    if name == LOCAL and model_id != LOCAL:
        return UnknownId("the demo model has no other id than local", LOCAL, is_certain=True)
    if name != OTHERWISE or model_id.startswith(OWN_MODEL):
        return None
    return unknown_provider(
        model_id, api_base=api_base, others=plugins(GROUP, "model prefix").keys() - {OTHERWISE}
    )


def has_unknown_price(model_id: str) -> bool:
    """Whether a call of the model costs money, and nobody knows how much."""
    is_own = model_id.startswith(OWN_MODEL)
    return not is_own and adapter_name(model_id) == OTHERWISE and not has_price(model_id)


def provider_of(model_id: str) -> tuple[str, str]:
    """The adapter of a model and the prefix of its id, empty if it has none."""
    prefix, slash, _ = model_id.partition("/")
    return adapter_name(model_id), prefix if slash else ""


def takes_provider_parameters(model_id: str) -> bool:
    """Whether the model's parameters are those of providers, not a package's or an object's own."""
    if model_id.startswith(OWN_MODEL):
        return False
    return adapter_name(model_id) in (OTHERWISE, "echo", "local")


def begin_import(model_ids: Iterable[str]) -> None:
    """Begin to import litellm in a thread if one of the ids needs it: it takes seconds.

    For a program that asks models soon and does not fork meanwhile. What fails is reported when a
    model is asked; a process that ends waits for the thread.
    """
    with suppress(TeamgraphError):  # two packages of one prefix
        if any(adapter_name(model_id) == OTHERWISE for model_id in model_ids):
            from .litellm import IMPORTER  # noqa: PLC0415  most commands do not need it

            Thread(target=IMPORTER.import_quietly, name="teamgraph-litellm").start()


def _make_adapter(name: str) -> Model:
    point = plugins(GROUP, "model prefix").get(name)
    if point is None:
        raise TeamgraphError(f"there is no adapter {name!r}; install teamgraph again")
    adapter = load_plugin(point, "model prefix")
    try:
        model: object = cast("type[Model]", adapter)()
    except Exception as error:
        raise TeamgraphError(
            f"the adapter {point.value} of the model prefix {name!r} cannot be made: {error}; it "
            "must be a class without arguments"
        ) from error
    if not callable(getattr(model, "ask", None)):
        raise TeamgraphError(
            f"the adapter {point.value} of the model prefix {name!r} has no method `ask`; see "
            "`teamgraph.Model`"
        )
    return cast(Model, model)


def default_model_id(environ: Mapping[str, str]) -> str:
    """The model where none is named: TEAMGRAPH_MODEL, or else the local one.

    If a provider's key is set, `NoModelError` asks for a name: a call would cost money, and the
    local model is not what such a user expects.
    """
    if named := environ.get("TEAMGRAPH_MODEL"):
        return named
    for key, example in _PROVIDERS.items():
        if environ.get(key):
            raise NoModelError(
                f"no model is named, and {key} is set; name one, such as --model {example}, "
                f"TEAMGRAPH_MODEL={example}, or 'model: {example}' in the graph",
                model="",
            )
    if is_installed(environ):
        return "local"
    raise NoModelError(f"no model is named, and none is installed; {INSTALL}", model="")
