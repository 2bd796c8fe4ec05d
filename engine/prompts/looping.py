"""What a loop goes over, and what `loop` is inside of it."""

from __future__ import annotations

from jinja2 import nodes

from .known import ABSENT, TRUTH, UNCALLED, WHOLE, Fields, Known, Plain, Words, either, record

_COUNTS = ("index", "index0", "revindex", "revindex0", "length", "depth", "depth0")


def loop_over(item: Known) -> Known:
    """What `loop` has inside of a loop over such items."""
    beside = either(item, ABSENT)
    parts: dict[str, Known] = {
        **dict.fromkeys(_COUNTS, WHOLE),
        **dict.fromkeys(("first", "last"), TRUTH),
        **dict.fromkeys(("previtem", "nextitem"), beside),
        **dict.fromkeys(("cycle", "changed"), UNCALLED),
    }
    return record("loop", parts)


def over(node: nodes.For) -> nodes.Node:
    """What a loop goes over, without the count of its rounds."""
    return (node.iter.node if isinstance(node.iter, nodes.Filter) else None) or node.iter


def is_single(known: Known) -> bool:
    """Whether the value is certainly no list, text or mapping."""
    match known:
        case Plain(kind=kind):
            return kind is not str
        case Words(words=words):
            return not isinstance(words[0], str)
        case Fields():
            return True
        case _:
            return False
