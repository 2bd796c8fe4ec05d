"""What every test needs: the plug-in of the house, and a Ctrl-C that can be heard.

The plug-in is loaded here where the environment was installed before there was one. A shell starts
its background jobs deaf to Ctrl-C, and what they start inherits that; the tests press it. No
example has to be done by a certain time: a machine may be busy.
"""

from __future__ import annotations

import signal
from importlib.metadata import entry_points

from hypothesis import settings

PLUGIN = "engine.testing.plugin"
_installed = {point.value for point in entry_points(group="pytest11")}
pytest_plugins = [] if PLUGIN in _installed else [PLUGIN]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("house", deadline=None)
settings.load_profile("house")
