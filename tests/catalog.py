"""Makes the table of what is known of litellm's models: `python -m tests.catalog` writes it.

`engine/models/catalog.json` is made of the locked litellm, and a test says when it no longer is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import redirect_stdout, suppress
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

from teamgraph import Usage
from teamgraph.engine.models.litellm import IMPORTER, price

FILE = Path(__file__).parents[1] / "engine" / "models" / "catalog.json"
_SOME = Usage(input_tokens=1000, output_tokens=1000, calls=1)
_MODES = ("chat", "completion", "responses", None)
"""Modes of the models that answer messages."""
_PATTERNS = (r"ft:gpt-3\.5-turbo", "ft:gpt-4", "^amazon_nova", ":[0-9a-f]{64}$")
"""What else litellm takes without a provider, by its code: `get_llm_provider`."""


def catalog() -> dict[str, Any]:
    """The table, asked of litellm itself."""
    litellm: Any = IMPORTER.module()
    from litellm.litellm_core_utils import fallback_generalizations  # noqa: PLC0415  as above
    from litellm.llms.openai_like.json_loader import JSONProviderRegistry  # noqa: PLC0415

    names = {str(getattr(each, "value", each)) for each in litellm.provider_list}
    names.update(JSONProviderRegistry.list_providers())
    priced: dict[str, set[str]] = defaultdict(set)
    bare: dict[str, set[str]] = defaultdict(set)
    with redirect_stdout(StringIO()):
        for key, facts in litellm.model_cost.items():
            if facts.get("mode") not in _MODES:
                continue
            prefix, provider = key.partition("/")[0], str(facts.get("litellm_provider"))
            if prefix not in names or provider not in names:
                with suppress(Exception):
                    provider = litellm.get_llm_provider(key)[1]
                    if prefix not in names:
                        bare[provider].add(key)
            name = key.removeprefix(f"{provider}/")
            if provider in names and price(litellm, f"{provider}/{name}", _SOME) is not None:
                priced[provider].add(name)
    rules = fallback_generalizations.get_fallback_generalization_rules()
    patterns = [each["pattern"] for each in rules if "litellm_provider" in each["model_info"]]
    return {
        "litellm": installed(),
        "patterns": [*patterns, *_PATTERNS],
        "providers": {
            name: {"priced": sorted(priced[name]), "bare": sorted(bare[name])}
            for name in sorted(names)
        },
    }


def installed() -> str:
    """The version of the installed litellm."""
    return version("litellm")


def text() -> str:
    """The table as the file has it: a line for each provider."""
    table = catalog()
    lines = [
        f"  {json.dumps(name)}: {json.dumps(each)}" for name, each in table["providers"].items()
    ]
    providers = ",\n".join(lines)
    head = "".join(f'"{key}": {json.dumps(table[key])},\n' for key in ("litellm", "patterns"))
    return f'{{\n{head}"providers": {{\n{providers}\n}}}}\n'


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
