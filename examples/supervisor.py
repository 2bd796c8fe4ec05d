"""A leader who calls its members as tools, as often as it wants; prints who did what.

python examples/supervisor.py "Plan a weekend in Porto" --model openai/gpt-5-mini
"""

from __future__ import annotations

import argparse
import sys

from teamgraph import Graph, Model
from teamgraph.errors import TeamgraphError
from teamgraph.graphs import Agent, Team
from teamgraph.nodes import Member

HOTELS = Graph(
    name="hotels",
    description="Finds hotels, and says which of them is best",
    nodes={
        "finder": Member(role="You find hotels"),
        "judge": Member(role="You compare hotels", needs=["finder"]),
    },
)


def build(model: Model | str | None) -> Team:
    """The team: two agents, and a graph that is a tool of the leader too."""
    return Team(
        name="travel desk",
        mode="supervise",
        model=model,
        members=[
            Agent(name="trains", role="Knows train timetables"),
            Agent(name="museums", role="Knows museums and their opening hours"),
        ],
        tools=[HOTELS],
        instructions=["Ask your members before you answer."],
    )


def main() -> int:
    """Answer one message."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("message")
    parser.add_argument("--model", help="any litellm id")
    options = parser.parse_args()
    try:
        run = build(options.model).run(options.message)
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, record in run.records.items():
        print(f"{path:<24} {record.status}", file=sys.stderr)
    print(run.answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
