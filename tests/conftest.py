"""The plug-in of the house, also in an environment that was installed before there was one."""

from __future__ import annotations

from importlib.metadata import entry_points

PLUGIN = "engine.testing.plugin"
_installed = {point.value for point in entry_points(group="pytest11")}
pytest_plugins = [] if PLUGIN in _installed else [PLUGIN]
