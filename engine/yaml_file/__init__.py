"""Graph files as YAML: read with the place of every word, written so that they read well.

YAML 1.2 in its core schema and nothing that surprises: `no` is text, a key stands once, a tag is
refused, an alias is a copy. `Document.data` is plain Python; places are asked for when an error
needs them. The codes of the problems:

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

from .document import Document, Place
from .reader import parse, read
from .rewrite import dump
from .writer import dumps

__all__ = ["Document", "Place", "dump", "dumps", "parse", "read"]
