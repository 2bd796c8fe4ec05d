"""An app with its pages, and a browser that is logged in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from teamgraph import Graph
from tests.engine.server.conftest import TOKEN, Serve
from tests.engine.server.pages.browser import Browser

Open = Callable[..., Browser]


@pytest.fixture
def browse(serve: Serve) -> Any:  # noqa: ANN401  a factory
    """A factory of browsers; `login=False` leaves out the login."""

    def make(*graphs: Graph, login: bool = True, **options: Any) -> Browser:  # noqa: ANN401
        client = serve(*graphs, **options).client
        del client.headers["Authorization"]
        browser = Browser(client)
        if login and "auth" not in options:
            browser.client.post("/login", data={"token": TOKEN})
        return browser

    return make
