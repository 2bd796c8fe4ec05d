"""Turns that are submitted here and run elsewhere: by tasks, or by workers over PostgreSQL.

`DBOSDispatcher`, `Worker` and `LimitedModel` need the extra `distributed`:
`pip install "teamgraph[distributed]"`. `teamgraph worker` runs a worker, `teamgraph serve
--dispatch` a server in front of them (docs/deploy.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine.dispatch.in_process import InProcessDispatcher
from .engine.dispatch.protocol import Dispatcher, Submission

if TYPE_CHECKING:
    from .engine.dispatch.dbos import DBOSDispatcher
    from .engine.dispatch.dispatched import DispatchedRunner
    from .engine.dispatch.limited import LimitedModel
    from .engine.dispatch.worker import Worker
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415  an extra

        if (module := _MODULES.get(name)) is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            found = getattr(import_module(f".engine.dispatch.{module}", __package__), name)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{name} needs the package {error.name!r}; install the extra: "
                'pip install "teamgraph[distributed]"',
                name=name,
            ) from error
        return globals().setdefault(name, found)


_MODULES = {
    "DBOSDispatcher": "dbos",
    "DispatchedRunner": "dispatched",
    "LimitedModel": "limited",
    "Worker": "worker",
}

__all__ = [
    "DBOSDispatcher",
    "DispatchedRunner",
    "Dispatcher",
    "InProcessDispatcher",
    "LimitedModel",
    "Submission",
    "Worker",
]
