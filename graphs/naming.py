"""The ids that people's names make."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from engine import Problem, misnamed

OWN = ("history", "team_history", "search", "router", "leader", "summary")
"""The ids of the nodes that a team has beside its members."""


def named(name: str) -> str:
    """A name as a node id: `Web Searcher` is `web_searcher`; empty if nothing of it can be one.

    Where that means something else already, as `Search` does, it is `member_search`.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return f"member_{slug}" if slug and (slug in OWN or misnamed(slug)) else slug


def member_ids(names: Sequence[str]) -> list[str]:
    """The ids of the members of a team; those without a usable name are counted."""
    return [named(name) or f"member_{index}" for index, name in enumerate(names, start=1)]


def clashes(ids: Sequence[str]) -> list[Problem]:
    """The ids that two members share, or a member and the history or search of another."""
    problems: list[Problem] = []
    taken = {f"{node_id}_{what}" for node_id in ids for what in ("history", "search")}
    for index, node_id in enumerate(ids):
        path = ("members", index, "name")
        if node_id in ids[:index]:
            text = f"two members have the id {node_id!r}, which is made of their names; rename one"
            problems.append(Problem("G010", text, path=path))
        elif node_id in taken:
            text = f"the id {node_id!r} is that of another node of the team; rename the member"
            problems.append(Problem("G010", text, path=path))
    return problems
