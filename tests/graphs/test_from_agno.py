"""The page for those who come from Agno tells of every option and every door there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from teamgraph.graphs import Agent, Team
from teamgraph.graphs.options import ALTERNATIVE_METHODS, ALTERNATIVES

PAGE = Path(__file__).parents[2] / "docs" / "from-agno.md"
OURS = ("store", "graph", "runner", "session", "stream", "astream", "as_member")
DOORS = [
    name
    for name in {**vars(Team.__mro__[1]), **vars(Agent)}
    if not name.startswith(("_", "model_"))
]
NAMED = re.findall(r"`[^`\n]+`", PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", sorted({*ALTERNATIVES, *ALTERNATIVE_METHODS, *Team.model_fields, *DOORS} - {*OURS})
)
def test_every_name_is_told(name: str) -> None:
    words = {word for code in NAMED for word in re.findall(r"\w+", code)}
    assert name in words
