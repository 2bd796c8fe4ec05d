"""What a declared graph can be asked before it is run: the prompts that it would send.

Rendering stands above the declaration, since it runs it. It is imported when it is first asked
for, so that whoever only declares or runs graphs does not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from .declaration import Declaration
from .messages import JSON
from .placeholder import quoted

if TYPE_CHECKING:
    from .rendering import Rendering, Said

MESSAGE = quoted("message")
"""What the user says in a dry run where the caller does not care."""


class Rehearsable(Declaration):
    """A declaration whose prompts can be rendered without a model."""

    def render(
        self,
        message: str = MESSAGE,
        *,
        assume: Mapping[str, object] | None = None,
        history: Sequence[Said] = (),
        state: Mapping[str, JSON] | None = None,
        session: Mapping[str, JSON] | None = None,
        user_id: str | None = None,
    ) -> Rendering:
        """Every prompt of a run, by node id, exactly as it would be sent.

        `assume` says what nodes give: a router its label, others their output; for the rest a text
        such as `«node»` stands in. `history` are the turns before, the oldest first, as
        `{input, answer}` or as messages; `session` may say `id`, `summary`, `turns` and
        `node_states`. The clock stands still and ids are fixed, so the same call gives the same
        text in every process. Raises `InputError`, or the `RunError` that ends the run.
        """
        parts = import_module(".rendering", __package__)
        scene = _scene(parts, message, assume, history, state, session, user_id)
        return cast("Rendering", parts.render(self, scene))

    def render_all(
        self,
        message: str = MESSAGE,
        *,
        assume: Mapping[str, object] | None = None,
        history: Sequence[Said] = (),
        state: Mapping[str, JSON] | None = None,
        session: Mapping[str, JSON] | None = None,
        user_id: str | None = None,
    ) -> list[Rendering]:
        """Like `render`, once for each way that the routers may take; `InputError` if too many."""
        parts = import_module(".rendering", __package__)
        scene = _scene(parts, message, assume, history, state, session, user_id)
        return cast("list[Rendering]", parts.render_all(self, scene))


def _scene(parts: Any, message: str, *given: object) -> object:  # noqa: ANN401  a module
    names = ("assume", "history", "state", "session", "user_id")
    there = {name: value for name, value in zip(names, given, strict=True) if value is not None}
    return parts.Scene(message, **there)
