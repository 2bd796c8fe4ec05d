"""A team that searches the user's last two other sessions."""

from __future__ import annotations

import argparse
import sys

from teamgraph import Model, Store, TinyDBStore
from teamgraph.errors import TeamgraphError
from teamgraph.graphs import Agent, Team

UNNAMED = "no --model: TEAMGRAPH_MODEL answers, or else a 98 MB demo model that can be wrong"
PLACES = ("South Africa", "China", "France", "Japan")
QUESTION = "What did I discuss in my previous conversations?"


def build(model: Model | str | None, store: Store) -> Team:
    """A team that searches the user's sessions; its `graph` has a node for that."""
    return Team(
        name="Geographers",
        model=model,
        db=store,
        user_id="user_1",
        members=[Agent(name="Geographer", role="You answer questions about countries")],
        respond_directly=True,
        search_session_history=True,
        num_history_sessions=2,
    )


def talk(team: Team) -> None:
    """Ask about a country in each of four sessions, and about these in the fifth."""
    for number, place in enumerate(PLACES, start=1):
        ask(team, f"What is the capital of {place}?", session_id=f"user_1_session_{number}")
    ask(team, QUESTION, session_id="user_1_session_5")


def ask(team: Team, message: str, *, session_id: str) -> None:
    """One turn of a session."""
    print(f"[{session_id}] {message}")
    team.print_response(message, session_id=session_id)


def main() -> int:
    """Run; exit code 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an id such as openai/gpt-5-mini, local, or echo")
    parser.add_argument("--store", default=".teamgraph", help="the folder of the sessions")
    options = parser.parse_args()
    if options.model is None:
        print(UNNAMED, file=sys.stderr)
    try:
        talk(build(options.model, TinyDBStore(options.store)))
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
