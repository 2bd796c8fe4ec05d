"""The kinds of nodes that come with the engine; each uses only `from engine import ...`."""

from .graph import SubGraph
from .history_loader import HistoryLoader
from .leader import Leader
from .member import Member
from .python import Python
from .router import Route, Router
from .search import Search
from .summarizer import Summarizer

__all__ = [
    "HistoryLoader",
    "Leader",
    "Member",
    "Python",
    "Route",
    "Router",
    "Search",
    "SubGraph",
    "Summarizer",
]
