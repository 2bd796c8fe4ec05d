"""The messages of a model call as HTML, coloured by where each word comes from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from .origins import CallOrigins, MessageOrigins, Origin, Piece
from .text import shown

_NAMES = {
    "template": "template",
    "message": "the message",
    "history": "an earlier turn",
    "summary": "the summary",
    "node": "another node",
    "state": "state, clock and ids",
    "params": "what the graph declares",
    "tool": "a tool",
    "attachment": "an attachment",
    "several": "computed from several",
    "unknown": "unknown",
}
"""What the legend calls each kind of origin, in its order."""
_BYTES_PER_TOKEN = 4


def messages_html(
    messages: CallOrigins | Sequence[MessageOrigins], *, tokens: int | None = None
) -> Markup:
    """Messages with a span of class `origin-KIND` for each piece, and a legend with tokens.

    `tokens` are those of the whole request, as the provider counted them: the legend shares them
    out by length. Without, it counts four bytes as one.
    """
    parts = messages.messages if isinstance(messages, CallOrigins) else messages
    items = Markup("").join(map(_message, parts))
    return Markup('<div class="messages"><ol class="message-list">{}</ol>{}</div>').format(
        items, _legend(parts, tokens)
    )


def origin_text(origin: Origin) -> str:
    """An origin in words: `history, turn 3: history.runs[2].answer, member.jinja:12`."""
    what = origin.kind
    if origin.label not in ("", origin.kind, origin.template):
        what = f"{what}, {origin.label}"  # type: ignore[assignment]  # from here on it is words
    place = f"{origin.template}:{origin.line}" if origin.line else origin.template
    rest = ", ".join([*origin.paths, *([place] if place else [])])
    return f"{what}: {rest}" if rest else what


def _message(message: MessageOrigins) -> Markup:
    calls = [f"calls {call.name}({call.arguments})" for call in message.tool_calls]
    attached = [f"attached: {part}" for part in message.attachments]
    return Markup(
        '<li class="message role-{0}"><p class="message-role">{0}</p>'
        '<pre class="message-text">{1}</pre>{2}</li>'
    ).format(
        message.role,
        Markup("").join(map(_piece, message.pieces)) or Markup("<span></span>"),
        Markup("").join(
            Markup('<p class="message-extra">{}</p>').format(shown(each))
            for each in [*calls, *attached]
        ),
    )


def _piece(piece: Piece) -> Markup:
    return Markup('<span class="origin origin-{}" title="{}">{}</span>').format(
        piece.origin.kind, shown(origin_text(piece.origin)), shown(piece.text)
    )


def _legend(messages: Iterable[MessageOrigins], tokens: int | None) -> Markup:
    """A row for each origin: its kind, its label, and about how many tokens it takes."""
    sizes = Counter[tuple[str, str]]()
    for message in messages:
        for piece in message.pieces:
            origin = piece.origin
            label = "" if origin.kind == "template" else origin.label
            sizes[origin.kind, label] += len(piece.text.encode("utf-8", "replace"))
    order = list(_NAMES)
    shares = _shared(sizes, tokens)
    rows = (
        Markup(
            '<tr><td><span class="origin origin-{}">{}</span></td><td>{}</td>'
            '<td class="number">{}</td></tr>'
        ).format(kind, _NAMES[kind], shown(label), shares[kind, label])
        for kind, label in sorted(sizes, key=lambda each: order.index(each[0]))
    )
    head = escape("tokens" if tokens is not None else "tokens, about")
    return Markup(
        '<table class="legend"><thead><tr><th scope="col">from</th><th scope="col">which</th>'
        '<th scope="col" class="number">{}</th></tr></thead><tbody>{}</tbody></table>'
    ).format(head, Markup("").join(rows))


def _shared(sizes: Counter[tuple[str, str]], tokens: int | None) -> dict[tuple[str, str], int]:
    """Tokens in proportion to bytes; the rounded shares add up to all of them."""
    if tokens is None:
        return {each: -(-size // _BYTES_PER_TOKEN) for each, size in sizes.items()}
    total, shares, given, counted = sizes.total() or 1, dict[tuple[str, str], int](), 0, 0
    for each, size in sizes.items():
        counted += size
        shares[each] = round(tokens * counted / total) - given
        given += shares[each]
    return shares
