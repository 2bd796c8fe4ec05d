"""Two users talk to one team at the same time, each in a session of their own."""

from __future__ import annotations

import argparse
import asyncio
import sys

from teamgraph import Model, Store, TinyDBStore
from teamgraph.errors import TeamgraphError
from teamgraph.graphs import Agent, Team

UNNAMED = "no --model: TEAMGRAPH_MODEL answers, or else a 98 MB demo model that can be wrong"
TALKS = {
    ("user_101", "session_101"): ["Comment ça va ?", "Raconte-moi une blague."],
    ("user_102", "session_102"): [
        "Tell me about quantum physics.",
        "What is the speed of light?",
        "Give me a summary of our conversation.",
    ],
}


def build(model: Model | str | None, store: Store) -> Team:
    """A team whose members answer in their languages."""
    return Team(
        name="Multi Lingual Team",
        model=model,
        db=store,
        members=[
            Agent(name="English Agent", role="You answer questions in English"),
            Agent(name="Chinese Agent", role="You answer questions in Chinese"),
            Agent(name="French Agent", role="You answer questions in French"),
        ],
        respond_directly=True,
        instructions=["Choose the agent of the language that the user writes in."],
        add_history_to_context=True,
        num_history_runs=5,
    )


async def talk(team: Team) -> None:
    """Let all users talk concurrently."""

    async def one(user_id: str, session_id: str, messages: list[str]) -> None:
        for message in messages:
            run = await team.arun(message, user_id=user_id, session_id=session_id)
            print(f"{user_id}: {message}\n  team: {run.answer}\n")

    await asyncio.gather(*(one(*whose, messages) for whose, messages in TALKS.items()))


def main() -> int:
    """Run; exit code 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an id such as openai/gpt-5-mini, local, or echo")
    parser.add_argument("--store", default=".teamgraph", help="the folder of the sessions")
    options = parser.parse_args()
    if options.model is None:
        print(UNNAMED, file=sys.stderr)
    try:
        asyncio.run(talk(build(options.model, TinyDBStore(options.store))))
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
