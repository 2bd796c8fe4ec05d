"""Which model answers: by the id in the request, and the rule for when nobody named one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from ..errors import NoModelError
from .litellm import LiteLLM
from .local.model import Local
from .local.process import INSTALL, is_installed
from .protocol import Chunk, Model, Reply, Request
from .scripted import EchoModel

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


OWN_MODEL = "own/"
"""How the ids begin by which graphs name models that only Python can give."""


class AnyModel:
    """Asks whom the request names: `echo`, `local`, or any provider that litellm knows.

    `own` are models of yours, by the ids that a graph names them by, such as `own/critic`.
    `others` is asked for all other ids, in place of the providers.
    """

    def __init__(
        self, own: Mapping[str, Model] | None = None, *, others: Model | None = None
    ) -> None:
        self._own = dict(own or {})
        self._others = others
        self._echo = EchoModel()
        self._local = Local()
        self._litellm = LiteLLM()

    def ask(self, request: Request) -> AsyncIterator[Chunk | Reply]:
        """Stream the answer of the model that the request names."""
        model = self._own.get(request.model, self._others)
        if model is not None:
            return model.ask(request)
        match request.model:
            case named if named.startswith(OWN_MODEL):
                raise NoModelError(
                    f"model {named}: only Python can give it: Runner(graph, model=AnyModel("
                    f"{{{named!r}: ...}})); or name another for all nodes, such as --model local",
                    model=named,
                )
            case "echo":
                return self._echo.ask(request)
            case "local":
                return self._local.ask(request)
            case _:
                return self._litellm.ask(request)

    def usual_id(self, environ: Mapping[str, str]) -> str:
        """The model of nodes for which nobody names one; see `default_model_id`."""
        return default_model_id(environ) if self._others is None else type(self._others).__name__


def default_model_id(environ: Mapping[str, str]) -> str:
    """The model for those who named none: TEAMGRAPH_MODEL, or else the local one.

    A provider's key without a model is a question, never an answer: `NoModelError` asks for the
    name, since the key costs money and the local model would not be what was meant.
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
