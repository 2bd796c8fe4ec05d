"""Which server a graph's model may use, and which key may go there; graphs are not trusted.

A key goes to its provider's own address, or to one that the caller allowed. A server on loopback
needs no permission, and gets no provider's key. Nothing is imported or read here but the names.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from urllib.parse import urlsplit

from ..errors import InputError, NoModelError, listed
from ..messages import JSON
from ..values import model_id_problem
from .protocol import Request

PARAMETERS = frozenset(
    (
        *("temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "stop"),
        *("seed", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias"),
        *("logprobs", "top_logprobs", "reasoning_effort", "thinking", "verbosity", "tool_choice"),
        *("parallel_tool_calls", "service_tier", "user", "safety_settings", "web_search_options"),
        *("prediction", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("extra_body", "chat_template_kwargs", "drop_params", "allowed_openai_params"),
        *("additional_drop_params", "api_version", "base_model", "timeout", "stream_timeout"),
        *("stream", "stream_options", "response_format"),
    )
)
"""What a graph may set for a provider of litellm beside the declared keys of `model`."""

NO_KEY = "no-key"
"""Sent where a client insists on a key and the server gets none."""

_MISNAMED = {"base_url": "api_base", "api_key": "api_key_env"}
_SEGMENT = r"[A-Za-z0-9_~!$&'()*+,;=:@%.-]"
_URL = re.compile(
    rf"(?i:https?)://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{{1,5}})?"
    rf"(?:/{_SEGMENT}*)*"
)
_DOT_SEGMENT = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)
_KEY_NAME = re.compile(r"(?:.*_)?(?:API)?(?:KEY|TOKEN)", re.IGNORECASE)
_LOOPBACK = re.compile(r"localhost|127(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}|::1")

_HOSTS: Mapping[str, Collection[str]] = {
    "anthropic": ("api.anthropic.com",),
    "cerebras": ("api.cerebras.ai",),
    "cohere": ("api.cohere.com", "api.cohere.ai"),
    "cohere_chat": ("api.cohere.com", "api.cohere.ai"),
    "dashscope": ("dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com"),
    "deepinfra": ("api.deepinfra.com",),
    "deepseek": ("api.deepseek.com",),
    "fireworks_ai": ("api.fireworks.ai",),
    "gemini": ("generativelanguage.googleapis.com",),
    "groq": ("api.groq.com",),
    "huggingface": ("router.huggingface.co",),
    "mistral": ("api.mistral.ai",),
    "codestral": ("codestral.mistral.ai",),
    "moonshot": ("api.moonshot.ai", "api.moonshot.cn"),
    "nvidia_nim": ("integrate.api.nvidia.com",),
    "openai": ("api.openai.com", "eu.api.openai.com", "us.api.openai.com"),
    "openrouter": ("openrouter.ai",),
    "perplexity": ("api.perplexity.ai",),
    "sambanova": ("api.sambanova.ai",),
    "together_ai": ("api.together.xyz", "api.together.ai"),
    "xai": ("api.x.ai",),
}
"""The providers' own addresses, by the prefix of their ids."""

_SELF_HOSTED = frozenset(
    (
        *("custom_openai", "hosted_vllm", "litellm_proxy", "llamafile", "lm_studio", "ollama"),
        "ollama_chat",
    )
)
COMMON_PROVIDERS = _HOSTS.keys() | _SELF_HOSTED
"""Prefixes of litellm's ids that are known without its table of all."""
_WITH_PLAIN_KEY = (_HOSTS.keys() | _SELF_HOSTED) - {"huggingface", "nvidia_nim", "dashscope"}
"""Prefixes for which `api_key` is the only credential that litellm sends."""

_KEY_OWNERS: Mapping[str, Collection[str]] = {
    "AI21": ("ai21", "ai21_chat"),
    "ANTHROPIC": ("anthropic",),
    "ANTHROPIC_AUTH": ("anthropic",),
    "AWS_BEARER": ("bedrock",),
    "AZURE": ("azure",),
    "AZURE_AD": ("azure",),
    "AZURE_AI": ("azure_ai",),
    "AZURE_OPENAI": ("azure",),
    "CEREBRAS": ("cerebras",),
    "CO": ("cohere", "cohere_chat"),
    "CODESTRAL": ("codestral",),
    "COHERE": ("cohere", "cohere_chat"),
    "DASHSCOPE": ("dashscope",),
    "DATABRICKS": ("databricks",),
    "DEEPINFRA": ("deepinfra",),
    "DEEPSEEK": ("deepseek",),
    "FIREWORKS": ("fireworks_ai",),
    "FIREWORKS_AI": ("fireworks_ai",),
    "FIREWORKSAI": ("fireworks_ai",),
    "GEMINI": ("gemini",),
    "GH": ("github",),
    "GITHUB": ("github",),
    "GOOGLE": ("gemini",),
    "GROQ": ("groq",),
    "HF": ("huggingface",),
    "HUGGINGFACE": ("huggingface",),
    "LITELLM_MASTER": ("litellm_proxy",),
    "LITELLM_PROXY": ("litellm_proxy",),
    "MISTRAL": ("mistral",),
    "MOONSHOT": ("moonshot",),
    "NVIDIA": ("nvidia_nim",),
    "NVIDIA_NIM": ("nvidia_nim",),
    "OPENAI": ("openai", "text-completion-openai"),
    "OPENROUTER": ("openrouter",),
    "OR": ("openrouter",),
    "PERPLEXITY": ("perplexity",),
    "PERPLEXITYAI": ("perplexity",),
    "REPLICATE": ("replicate",),
    "SAMBANOVA": ("sambanova",),
    "TOGETHER": ("together_ai",),
    "TOGETHER_AI": ("together_ai",),
    "TOGETHERAI": ("together_ai",),
    "VOYAGE": ("voyage",),
    "WATSONX": ("watsonx",),
    "XAI": ("xai",),
    "ZAI": ("zai",),
}
"""Prefixes of ids by the beginning of the variables that hold their keys."""


def parameter_problem(name: str, known: Collection[str]) -> tuple[str, str | None] | None:
    """What is wrong with a key of a graph's `model`, with a suggestion; None if it may be set.

    `known` are the declared keys.
    """
    if name in known or name in PARAMETERS:
        return None
    if name == "tools":
        return "the tools of a node are its own: give the node `tools`, not its model", None
    near = get_close_matches(name, [*known, *sorted(PARAMETERS)], n=1, cutoff=0.8)
    if name in _MISNAMED or near:
        return f"unknown key {name!r}", _MISNAMED.get(name) or near[0]
    return (
        f"a graph may not set {name!r} for a model; docs/writing-graphs.md lists what it may set; "
        "anything else takes a model of your own (docs/your-own-model.md)"
    ), None


def address_problem(url: str) -> str | None:
    """What is wrong with an `api_base`, None if nothing is: it is a plain http(s) address."""
    if re.search(r"://[^/?#]*@", url):
        return "api_base contains a password; leave it out and name its variable: api_key_env"
    if "?" in url or "#" in url:
        return "api_base must end with a path; it can have no query and no fragment"
    if not _URL.fullmatch(url) or _DOT_SEGMENT.search(url) or not _has_port(url):
        return (
            "api_base must be an address such as http://127.0.0.1:8000/v1 or https://host/path, "
            "in ASCII and without . or .. in its path"
        )
    return None


def key_variable_problem(name: str) -> str | None:
    """What is wrong with an `api_key_env`: only a variable for a key may be named."""
    if _KEY_NAME.fullmatch(name) and not name.upper().startswith(("AWS_ACCESS", "AWS_SECRET")):
        return None
    return (
        f"api_key_env names {name!r}, which is no variable for an API key; name one that ends in "
        "_KEY or _TOKEN"
    )


def checked_addresses(addresses: Collection[str]) -> tuple[str, ...]:
    """The addresses that a caller allows; `InputError` if one is malformed."""
    if isinstance(addresses, str):
        raise InputError(f"allow_api_base: pass a list of addresses, such as [{addresses!r}]")
    if not isinstance(addresses, Collection):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
        what = type(addresses).__name__
        raise InputError(f"allow_api_base is a {what}; pass a list of addresses")
    for address in addresses:
        if not isinstance(address, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may not type-check
            raise InputError(
                f"allow_api_base: {address!r} is not text; give addresses such as 'https://host/v1'"
            )
        problem = address_problem(address)
        if problem is not None:
            problem = problem.replace("api_base", "it", 1)
            raise InputError(f"allow_api_base: {address!r}: {problem}")
    return tuple(addresses)


def check_endpoint(
    model_id: str, parameters: Mapping[str, JSON], allowed: Collection[str] = ()
) -> None:
    """Raise `NoModelError` unless the request may go to its `api_base` with its `api_key_env`.

    `allowed` are addresses that the caller trusts with prompts and keys.
    """
    for problem in _endpoint_problems(model_id, parameters, allowed):
        raise NoModelError(f"model {model_id}: {problem}", model=model_id)


def key_of(request: Request) -> str | None:
    """The key to send; None if litellm is to take that of the provider's own variable.

    Raises `NoModelError` if the variable that `api_key_env` names is not set.
    """
    name = request.parameters.get("api_key_env")
    if name is not None:
        key = os.environ.get(str(name))
        if not key:
            raise NoModelError(f"model {request.model}: {_unset(str(name))}", model=request.model)
        return key
    return None if is_trusted(request) else NO_KEY


def check_key(
    model_id: str, provider: str, parameters: Mapping[str, JSON], environ: Mapping[str, str]
) -> str:
    """Where the key of a model comes from, in words; nothing is asked.

    Raises `NoModelError` if it is certain that a request would have none: `api_key_env` names a
    variable that is not set, or the provider takes nothing but a key, and no variable has one.
    """
    if (named := parameters.get("api_key_env")) is not None:
        if not environ.get(str(named)):
            raise NoModelError(f"model {model_id}: {_unset(str(named))}", model=model_id)
        return f"{named} is set"
    if "api_key" in parameters or _is_set_in_litellm(provider):
        return "the program gives a key"
    if found := [name for name in keys_set(environ) if provider in _owners(name)]:
        return f"{found[0]} is set"
    base = parameters.get("api_base")
    if base is not None and not _is_own(model_id, str(base)):
        return f"no key is sent to {base}"
    if provider not in _HOSTS.keys() & _WITH_PLAIN_KEY:
        return "whether it needs a key is not known; --connect asks it"
    variable = next(name for name, owners in _KEY_OWNERS.items() if provider in owners)
    raise NoModelError(
        f"model {model_id}: it has no API key; set {variable}_API_KEY, name the variable that "
        "contains it with api_key_env, or use another model (local, echo)",
        model=model_id,
    )


def keys_set(environ: Mapping[str, str]) -> list[str]:
    """The variables that are set and hold a provider's key, sorted."""
    return sorted(name for name, value in environ.items() if value and _owners(name))


def is_trusted(request: Request) -> bool:
    """Whether the provider's own key may go where the request goes."""
    base = request.parameters.get("api_base")
    return (
        base is None
        or _is_own(request.model, str(base))
        or _is_allowed(str(base), request.allow_api_base)
    )


def _unset(variable: str) -> str:
    return (
        f"the environment variable {variable} is not set, and api_key_env names it; set it, or "
        "name another"
    )


def _is_set_in_litellm(provider: str) -> bool:
    """Whether a program has given litellm a key itself."""
    litellm = sys.modules.get("litellm")
    return any(getattr(litellm, name, None) for name in ("api_key", f"{provider}_key"))


def _endpoint_problems(
    model_id: str, parameters: Mapping[str, JSON], allowed: Collection[str]
) -> Iterator[str]:
    base, name = parameters.get("api_base"), parameters.get("api_key_env")
    problems = (
        model_id_problem(model_id),
        key_variable_problem(str(name)) if name is not None else None,
        address_problem(str(base)) if base is not None else None,
    )
    yield from (problem for problem in problems if problem is not None)
    if base is None or _is_own(model_id, str(base)):
        yield from _foreign_key(model_id, name)
    elif not _is_allowed(str(base), allowed):
        yield from _unallowed_server(model_id, str(base), name)


def _unallowed_server(model_id: str, base: str, name: JSON) -> Iterator[str]:
    """Why a server that the caller did not allow may not be used: it is not on loopback, or ..."""
    prefix = _prefix(model_id)
    if not _is_loopback(base):
        yield f"api_base {base} is not allowed: prompts would go there; {_how_to_allow(base)}"
    elif owners := _owners(name):
        yield (
            f"{name} is a key of {listed(owners)}, and goes to no other server; name the variable "
            f"of the server at {base}, leave api_key_env out, or {_how_to_allow(base)}"
        )
    elif prefix not in _WITH_PLAIN_KEY:
        provider = f"the provider {prefix!r}" if prefix else "an id without provider/"
        yield (
            f"{provider} may send credentials of its own to api_base; write openai/ before the "
            f"model's name if the server is OpenAI-compatible, or {_how_to_allow(base)}"
        )


def _foreign_key(model_id: str, name: JSON) -> Iterator[str]:
    """The problem that a key belongs to another provider than that of the id."""
    owners = _owners(name)
    prefix = _prefix(model_id)
    if owners and prefix and prefix not in owners:
        yield f"{name} is a key of {listed(owners)}, not of {prefix}; name the key of {prefix}"


def _owners(name: JSON) -> Collection[str]:
    """The prefixes that a key variable belongs to; empty if it is no provider's."""
    if not isinstance(name, str):
        return ()
    beginning = re.sub(r"_?(?:API_?)?(?:KEY|TOKEN)(?:_BEDROCK)?$", "", name.upper())
    return _KEY_OWNERS.get(beginning, ())


def _how_to_allow(base: str) -> str:
    return (
        f"allow it with --allow-api-base {base}, allow_api_base in [tool.teamgraph], or "
        "Runner(..., allow_api_base=[...])"
    )


def _is_own(model_id: str, base: str) -> bool:
    url = urlsplit(base)
    hosts = _HOSTS.get(_prefix(model_id), ())
    return url.scheme.lower() == "https" and url.port in (None, 443) and url.hostname in hosts


def _is_loopback(base: str) -> bool:
    return _LOOPBACK.fullmatch(urlsplit(base).hostname or "") is not None


def _is_allowed(base: str, allowed: Collection[str]) -> bool:
    """Whether the address is an allowed one, or below it."""
    return any(
        _origin(base) == _origin(each) and f"{_path(base)}/".startswith(f"{_path(each)}/")
        for each in allowed
    )


def _origin(url: str) -> tuple[str, str | None, int]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or (443 if scheme == "https" else 80)


def _path(url: str) -> str:
    return urlsplit(url).path.rstrip("/")


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _prefix(model_id: str) -> str:
    return model_id.partition("/")[0] if "/" in model_id else ""
