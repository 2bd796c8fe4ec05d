"""The demo model that runs on this machine, in a process of its own."""

from __future__ import annotations

from .model import LOCAL_NOTICE, Local
from .process import INSTALL, Server, is_installed

__all__ = ["INSTALL", "LOCAL_NOTICE", "Local", "Server", "is_installed"]
