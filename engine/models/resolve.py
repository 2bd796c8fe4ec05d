"""Which model answers: by the id in the request, and the rule for when nobody named one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from engine.errors import NoModelError

from .litellm import LiteLLM
from .local import INSTALL, Local, is_installed
from .protocol import Chunk, Reply, Request
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


class AnyModel:
    """Asks whom the request names: `echo`, `local`, or any provider that litellm knows."""

    def __init__(self) -> None:
        self._echo = EchoModel()
        self._local = Local()
        self._litellm = LiteLLM()

    def ask(self, request: Request) -> AsyncGenerator[Chunk | Reply]:
        """Stream the answer of the model that the request names."""
        match request.model:
            case "echo":
                return self._echo.ask(request)
            case "local":
                return self._local.ask(request)
            case _:
                return self._litellm.ask(request)


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
