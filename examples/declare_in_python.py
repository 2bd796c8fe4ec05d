"""The team of graphs/polyglot.yaml, declared in Python; it is the same graph."""

from __future__ import annotations

import tempfile
from pathlib import Path

from teamgraph import Graph, Runner, ScriptedModel
from teamgraph.graphs import FOLDER
from teamgraph.nodes import HistoryLoader, Member, Router, Summarizer

LANGUAGES = ["English", "Chinese", "French"]
MEMBERS = [language.lower() for language in LANGUAGES]

polyglot = Graph(
    name="polyglot",
    description="Answers each question in the language it was asked in.",
    model="openai/gpt-5-mini",
    retry=2,
    timeout=60,
    nodes={
        "history": HistoryLoader(runs=5),
        "router": Router(
            routes={language.lower(): f"The user writes {language}" for language in LANGUAGES},
            default="english",
        ),
        **{
            language.lower(): Member(role=f"You answer questions in {language}")
            for language in LANGUAGES
        },
        "summary": Summarizer(needs=MEMBERS),
    },
    output=MEMBERS,
)


def main() -> None:
    """Compare, dump, and run it with answers from a script."""
    assert polyglot == Graph.load(FOLDER / "polyglot.yaml")

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "polyglot.yaml"
        polyglot.dump(file)
        assert Graph.load(file) == polyglot
        print(file.read_text(encoding="utf-8"))

    summary = '{"summary": "The user asked for the capital.", "topics": ["Paris"]}'
    model = ScriptedModel(["french", "C'est Paris.", summary])
    run = Runner(polyglot, model=model).run("Quelle est la capitale ?", session_id="s")
    for node_id, record in run.records.items():
        print(f"{node_id:<8} {record.status:<8} {record.because or record.output}")


if __name__ == "__main__":
    main()
