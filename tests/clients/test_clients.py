"""What `make clients` asks of the newest clients, asked of the locked ones."""

from __future__ import annotations

import openai
import pytest

from .__main__ import TOKEN, serving
from .talk import OF_OPENAI, Clients


def test_the_official_client_does_all_that_the_newest_one_has_to() -> None:
    with serving() as address:
        for name in OF_OPENAI:
            getattr(Clients(address, TOKEN), name)()
        with pytest.raises(openai.AuthenticationError):
            Clients(address, "wrong").whole()
