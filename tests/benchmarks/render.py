"""The cost of rendering a prompt, compared with plain Jinja."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

from jinja2 import DictLoader, Environment

from teamgraph import Message
from teamgraph.engine.prompts.library import Prompts

from .row import Row, cpu, median

_SYSTEM = """You route messages for the team "{{ graph.name }}".
Choose exactly one member:
{% for member in graph.members %}
- {{ member.id }}: {{ member.role }}
{% endfor %}
{% if session.summary %}
What happened before:
{{ session.summary }}
{% endif %}
"""
_OURS = (
    f"{{% system %}}\n{_SYSTEM}{{% endsystem %}}\n{{% messages history.messages %}}\n"
    "{% user %}\n{{ input.message }}\n{% enduser %}\n"
)
_PLAIN = (
    f"{_SYSTEM}{{% for message in history.messages %}}\n"
    "{{ message.role }}: {{ message.content }}\n{% endfor %}\n{{ input.message }}\n"
)
_NAMES = {
    "graph": SimpleNamespace(
        name="languages",
        members=[
            SimpleNamespace(id=f"member{n}", role=f"answers questions about topic {n}")
            for n in range(5)
        ],
    ),
    "session": SimpleNamespace(summary="They talked about verbs. " * 8),
    "history": SimpleNamespace(
        messages=[
            Message(role="user" if n % 2 == 0 else "assistant", content=f"message {n} " * 20)
            for n in range(10)
        ]
    ),
    "input": SimpleNamespace(message="Bonjour, je voudrais savoir " + "quelque chose " * 20),
}


def rows(*, short: bool) -> Iterator[Row]:
    """The same prompt, alternating; plain Jinja renders one text, ours messages."""
    ours = Prompts(inline={"bench": _OURS})
    environment = Environment(  # noqa: S701  prompts are not HTML
        loader=DictLoader({"bench": _PLAIN}), trim_blocks=True, lstrip_blocks=True
    )
    plain = environment.get_template("bench")
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(2 if short else 15):
        mine.append(cpu(lambda: [ours.render("bench.inline", _NAMES) for _ in range(200)]) / 200)
        theirs.append(cpu(lambda: [plain.render(_NAMES) for _ in range(200)]) / 200)
    yield Row("rendering a realistic prompt", median(mine) * 1e6, "CPU µs")
    yield Row("  the same, in units of plain Jinja", median(mine) / median(theirs), "x", 1.5)
