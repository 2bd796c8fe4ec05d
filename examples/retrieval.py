"""Search, grade, rewrite, answer: retrieval.yaml, with an index of SQLite's full text search.

python examples/retrieval.py "How long may I return a lamp?" --model openai/gpt-5-mini
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import sys
from pathlib import Path

from teamgraph import Graph, Runner
from teamgraph.errors import TeamgraphError

HERE = Path(__file__).parent
PASSAGES = (
    "Lamps may be returned within 30 days if they were not used.",
    "Chairs and tables may be returned within 14 days.",
    "The money is paid back five days after a parcel has arrived.",
    "A parcel takes two days within the country and six days abroad.",
    "Spare parts for lamps are sold for ten years.",
)


def search(message: str) -> list[str]:
    """The three passages that fit the words of the message best."""
    index = sqlite3.connect(":memory:")
    index.execute("CREATE VIRTUAL TABLE passages USING fts5(text, tokenize = 'porter')")
    index.executemany("INSERT INTO passages VALUES (?)", [(text,) for text in PASSAGES])
    words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", message))
    found = index.execute(
        "SELECT text FROM passages WHERE passages MATCH ? ORDER BY rank LIMIT 3", (words or '""',)
    ).fetchall()
    index.close()
    return [text for (text,) in found]


def main() -> int:
    """Answer one question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("question")
    parser.add_argument("--model", help="asked instead of the graph's model")
    options = parser.parse_args()
    try:
        graph = Graph.load(HERE / "retrieval.yaml", allow=["retrieval"])
        run = Runner(graph, model=options.model).run(options.question)
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, record in run.records.items():
        print(f"{path:<20} {record.status}", file=sys.stderr)
    print(run.answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
