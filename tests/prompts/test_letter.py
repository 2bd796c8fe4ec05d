"""The prompts of the example with a kind of its own, which a case file could not load."""

from __future__ import annotations

from pathlib import Path

from examples.own_kind import Translator
from teamgraph import Graph, Rendering
from teamgraph.engine.testing.plugin import PromptSnapshot

ROOT = Path(__file__).parents[2]


def letter(name: str = "letter.yaml") -> Graph:
    return Graph.load(ROOT / "examples" / name, kinds={"translator": Translator})


def test_the_letter_is_written_and_put_into_french(prompt_snapshot: PromptSnapshot) -> None:
    rendering = letter().render("Tell Ann that her lamp was sent.", assume={"writer": "Dear Ann"})
    assert isinstance(rendering, Rendering)
    assert "Dear Ann" in rendering["french"].text
    prompt_snapshot(rendering)


def test_a_message_alone_is_put_into_french(prompt_snapshot: PromptSnapshot) -> None:
    alone = Graph(
        name="alone",
        model="echo",
        nodes={"french": Translator(language="French")},
        prompt_dirs=[ROOT / "examples" / "prompts"],
    )
    prompt_snapshot(alone.render("Good morning"))
