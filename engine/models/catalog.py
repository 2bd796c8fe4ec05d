"""What is known of litellm's providers and models without importing it, which takes seconds.

`catalog.json` is made of the locked litellm by `python -m tests.catalog`. It is read when an id is
looked at that no short list has, so that most graphs do not read it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from functools import cache, lru_cache
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct
from msgspec.json import Decoder

from ..errors import closest
from .endpoints import COMMON_PROVIDERS

_SIMILAR = 0.7
_USUAL = ("openai", "anthropic", "gemini", "mistral", "groq", "deepseek", "xai")


class UnknownId(NamedTuple):
    """What is wrong with an id, and the one that was probably meant.

    It is certain only if the installed litellm is the one that the table was made of. `is_name`
    says that it is a word like no id, perhaps of a model that is passed as an object.
    """

    text: str
    meant: str | None
    is_certain: bool
    is_name: bool = False


def unknown_provider(
    model_id: str, *, api_base: object = None, others: Iterable[str] = ()
) -> UnknownId | None:
    """Why litellm would not know where to send a request for this model; None if it would.

    `others` are ids and prefixes of other adapters, one of which may be meant.
    """
    prefix, slash, _ = model_id.partition("/")
    if slash and prefix in COMMON_PROVIDERS:
        return None
    table = _catalog()
    is_known = slash and prefix in table.providers
    if is_known or table.takes_bare(model_id) or _decides_itself(prefix, slash, api_base):
        return None
    is_certain = _is_installed(table.litellm)
    if not slash and prefix in table.providers:
        text = f"the id {model_id!r} has no model; write {model_id}/ and the model's name"
        return UnknownId(text, None, is_certain)
    text, meant = f"unknown provider {prefix!r}", _meant(model_id, frozenset(others))
    if meant is None:
        text += "; write the id as provider/model, such as openai/gpt-5-mini, or use local or echo"
    return UnknownId(text, meant, is_certain, is_name=not slash and meant is None)


def provider(model_id: str) -> str:
    """The provider that litellm asks for this model, empty if its id does not say that."""
    prefix, slash, _ = model_id.partition("/")
    if slash and prefix in COMMON_PROVIDERS:
        return prefix
    providers = _catalog().providers
    if slash and prefix in providers:
        return prefix
    return next((name for name, each in providers.items() if model_id in each.bare), "")


def has_price(model_id: str) -> bool:
    """Whether litellm has a price for this model, so that the cost of its calls is known."""
    found = _catalog().providers.get(name := provider(model_id))
    return found is not None and model_id.removeprefix(f"{name}/") in found.priced


class _Provider(Struct, frozen=True):
    """The models of one provider: those with a price, and those known without its prefix."""

    priced: frozenset[str]
    bare: frozenset[str]


class _Catalog(Struct, frozen=True):
    """The table; `patterns` are of further ids that litellm knows without a prefix."""

    litellm: str
    patterns: tuple[str, ...]
    providers: Mapping[str, _Provider]

    def takes_bare(self, model_id: str) -> bool:
        """Whether an id has no prefix of a provider, and needs none."""
        is_listed = any(model_id in each.bare for each in self.providers.values())
        return is_listed or any(re.search(each, model_id) for each in self.patterns)


@cache
def _catalog() -> _Catalog:
    return Decoder(_Catalog).decode(Path(__file__).with_suffix(".json").read_bytes())


def _decides_itself(prefix: str, slash: str, api_base: object) -> bool:
    """Whether litellm goes by something else than the id: an address, or what a program told it."""
    if "USE_LITELLM_PROXY" in os.environ or (api_base is not None and not slash):
        return True
    return prefix in map(str, getattr(sys.modules.get("litellm"), "provider_list", ()))


def _is_installed(litellm: str) -> bool:
    """Whether this is the version of the installed litellm, if one is."""
    found = next(iter(distributions(name="litellm")), None)
    return found is None or found.version == litellm


@lru_cache(maxsize=256)
def _meant(model_id: str, others: frozenset[str]) -> str | None:
    """The id that was probably meant."""
    table = _catalog()
    prefix, slash, name = model_id.partition("/")
    if slash:
        near = closest(prefix, {*table.providers, *others})
        return f"{near}/{name}" if near else None
    names = {each: each for each in others}
    for each in _USUAL:  # the best known provider of a model comes first
        for model in sorted(table.providers[each].priced):
            names.setdefault(model, f"{each}/{model}")
    matcher = SequenceMatcher(b=_letters(model_id))
    best, score = "", 0.0
    for known in names:
        matcher.set_seq1(_letters(known))
        if matcher.real_quick_ratio() > score and (ratio := matcher.ratio()) > score:
            best, score = known, ratio
    return names[best] if score >= _SIMILAR else None


def _letters(name: str) -> str:
    """A name without what stands between its parts."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
