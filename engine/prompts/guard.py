"""Which names a test finds to be there."""

from __future__ import annotations

from jinja2 import nodes


def tests(node: nodes.Node, truth: bool) -> frozenset[str]:
    """The names that are certainly there if the test `node` comes out as `truth`."""
    match node:
        case nodes.Name() if truth:
            names = frozenset((node.name,))
        case nodes.Not():
            names = tests(node.node, not truth)
        case nodes.And() | nodes.Or():
            left, right = tests(node.left, truth), tests(node.right, truth)
            names = left | right if truth == isinstance(node, nodes.And) else left & right
        case nodes.Test(node=nodes.Name(name=name)) if node.name == _TRUE_IF[truth]:
            names = frozenset((name,))
        case _:
            names = frozenset[str]()
    return names


_TRUE_IF = {True: "defined", False: "undefined"}
