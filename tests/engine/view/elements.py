"""What a browser makes of a piece of HTML."""

from __future__ import annotations

from html.parser import HTMLParser


class Elements(HTMLParser):
    """The elements of a piece with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment", {}))

    def handle_pi(self, data: str) -> None:
        self.elements.append(("instruction", {}))

    def shape(self) -> list[tuple[str, tuple[str, ...]]]:
        """The tags and the names of their attributes."""
        return [(tag, tuple(attributes)) for tag, attributes in self.elements]
