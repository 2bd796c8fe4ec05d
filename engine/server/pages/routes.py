"""The routes of all pages."""

from __future__ import annotations

from starlette.routing import Route

from . import chat, graphs, login, prompts, runs, sessions, workers
from .page import show_static

routes = [
    *login.routes,
    *graphs.routes,
    *chat.routes,
    *prompts.routes,
    *runs.routes,
    *sessions.routes,
    *workers.routes,
    Route("/static/{name}", show_static),
]
