"""A team that summarizes each session; then one with another model and prompt for the summary."""

from __future__ import annotations

import argparse
import sys

from teamgraph import Model, Store, TinyDBStore
from teamgraph.errors import TeamgraphError
from teamgraph.graphs import Agent, Team

UNNAMED = "no --model: TEAMGRAPH_MODEL answers, or else a 98 MB demo model that can be wrong"
MESSAGES = (
    "What can you tell me about quantum computing?",
    "I would also like to know about LLMs?",
)
EXPERT = Agent(name="Expert", role="You explain technology in simple words")


def build(model: Model | str | None, store: Store) -> Team:
    """A team that summarizes with its own model and the built-in prompt."""
    return Team(
        model=model,
        db=store,
        members=[EXPERT],
        respond_directly=True,
        enable_session_summaries=True,
    )


def build_own(model: Model | str | None, store: Store, summary_model: str | None) -> Team:
    """The same with another model and prompt for the summary."""
    return Team(
        model=model,
        db=store,
        members=[EXPERT],
        respond_directly=True,
        enable_session_summaries=True,
        session_summary_model=summary_model,
        session_summary_prompt="Write one sentence for each question that the user asked.",
    )


def talk(team: Team, session_id: str) -> None:
    """Ask, stream the answers, and print the summary."""
    for message in MESSAGES:
        print(f"> {message}")
        team.print_response(message, stream=True, user_id="user_1", session_id=session_id)
    summary = team.get_session_summary(session_id=session_id, user_id="user_1")
    print(f"\nSession summary: {summary.summary if summary else 'there is none'}\n")


def main() -> int:
    """Run; exit code 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an id such as openai/gpt-5-mini, local, or echo")
    parser.add_argument("--summary-model", help="the id of the model that summarizes")
    parser.add_argument("--store", default=".teamgraph", help="the folder of the sessions")
    options = parser.parse_args()
    if options.model is None:
        print(UNNAMED, file=sys.stderr)
    try:
        store = TinyDBStore(options.store)
        talk(build(options.model, store), "session_summary")
        talk(build_own(options.model, store, options.summary_model), "own_session_summary")
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
