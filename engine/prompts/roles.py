"""Jinja tags that create messages: `system`, `user`, `assistant` and `messages`.

A tag compiles to a filter that appends a message to the current render. Roles come from the syntax
tree of the template; rendered text is never parsed, so no text can forge a role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, cast

from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from ..messages import Message
from .limits import CURRENT_RENDER, charge_work

TagRole: TypeAlias = Literal["system", "user", "assistant"]

ROLES = frozenset(("system", "user", "assistant"))
REPLAYED = frozenset(("user", "assistant", "tool"))
ATTRIBUTES = frozenset(("cache", "name"))
EMIT = "\0emit"
REPLAY = "\0replay"
"""Internal filters: a template cannot name them, since identifiers contain no NUL."""


class RoleTags(Extension):
    """Parses the role tags; `static.structure` checks where they may stand."""

    tags = {*ROLES, "messages"}  # noqa: RUF012  the base class declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        """Parse from the tag's name to the end of its body."""
        token = next(parser.stream)
        if token.value == "messages":
            value = parser.parse_expression()
            replayed = nodes.Filter(value, REPLAY, [], [], None, None, lineno=token.lineno)
            return nodes.Output([replayed], lineno=token.lineno)
        attributes = self._attributes(parser, token.value)
        body = parser.parse_statements((f"name:end{token.value}",), drop_needle=True)
        emit_message = nodes.Filter(
            None,
            EMIT,
            [nodes.Const(token.value, lineno=token.lineno)],
            attributes,
            None,
            None,
            lineno=token.lineno,
        )
        return nodes.FilterBlock(body, emit_message, lineno=token.lineno)

    def _attributes(self, parser: Parser, role: str) -> list[nodes.Keyword]:
        found: dict[str, nodes.Keyword] = {}
        while parser.stream.current.type != "block_end":
            token = parser.stream.expect("name")
            if token.value not in ATTRIBUTES:
                message = f"{{% {role} %}} takes cache and name, not {token.value!r}"
                parser.fail(message, token.lineno)
            if token.value in found:
                parser.fail(f"attribute {token.value!r} is given twice", token.lineno)
            parser.stream.expect("assign")
            value = parser.parse_expression()
            found[token.value] = nodes.Keyword(token.value, value, lineno=token.lineno)
        return list(found.values())


def message_role(node: nodes.Node) -> TagRole | None:
    """The role of a message tag, or None for any other node."""
    if not isinstance(node, nodes.FilterBlock) or node.filter.name != EMIT:
        return None
    return cast("TagRole", cast("nodes.Const", node.filter.args[0]).value)


def is_replay(node: nodes.Node) -> bool:
    """Whether the node is a `messages` tag."""
    if not isinstance(node, nodes.Output) or len(node.nodes) != 1:
        return False
    return isinstance(only := node.nodes[0], nodes.Filter) and only.name == REPLAY


def emit_message(text: str, role: TagRole, **attributes: Any) -> str:  # noqa: ANN401  pydantic checks
    """Append a message; line breaks around its text are removed."""
    CURRENT_RENDER.get().write(Message(role=role, content=text.strip("\n"), **attributes))
    return ""


def replay_messages(values: Iterable[object]) -> str:
    """Append messages of earlier runs: the same objects, or ones made from mappings."""
    messages = [
        value if type(value) is Message and value.role in REPLAYED else _replayed(value)
        for value in values
    ]
    charge_work(len(messages))
    CURRENT_RENDER.get().messages.extend(messages)
    return ""


def _replayed(value: object) -> Message:
    if isinstance(value, Message):
        message = value
    elif isinstance(value, Mapping):
        message = Message.model_validate(value)
    else:
        raise TypeError(f"{{% messages %}}: a {type(value).__name__} is not a message")
    if message.role not in REPLAYED:
        raise ValueError(f"{{% messages %}}: the role {message.role!r} may not come from data")
    return message
