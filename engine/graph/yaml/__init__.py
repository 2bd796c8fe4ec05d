"""Graph files as YAML: read with the place of every word, written so that they read well.

YAML 1.2 in its core schema and nothing that surprises: `no` is text, a key stands once, a tag is
refused, an alias is a copy. `Document.data` is plain Python; places are asked for when an error
needs them. What writes is imported when it is first asked for. The codes of the problems:

    Y001  the file cannot be read or written    Y009  a merge key (`<<`)
    Y002  it is not UTF-8                       Y010  several documents in one file
    Y003  it is too large                       Y011  an anchor or alias
    Y004  a character that is not allowed       Y012  nested too deeply
    Y005  it is empty                           Y013  a tag or a directive
    Y006  it is not a mapping at the top        Y014  a key that is not text
    Y007  the YAML syntax is broken             Y015  a value that JSON cannot hold
    Y008  a key that stands twice
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .document import Document, Place
from .reader import parse, read

if TYPE_CHECKING:
    from .writer import dump, dumps
else:

    def __getattr__(name: str) -> object:
        from importlib import import_module  # noqa: PLC0415  not a name of this package

        if name not in ("dump", "dumps"):
            raise AttributeError(f"the package {__name__!r} has no {name!r}")
        return getattr(import_module(".writer", __name__), name)


__all__ = ["Document", "Place", "dump", "dumps", "parse", "read"]
