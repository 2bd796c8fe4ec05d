"""An agent with history: the last turns in its prompt, and a tool that reads all of them."""

from __future__ import annotations

import argparse
import sys

from teamgraph import Model, ModelSpec, Store, TinyDBStore
from teamgraph.errors import TeamgraphError
from teamgraph.graphs import Agent

UNNAMED = "no --model: TEAMGRAPH_MODEL answers, or else a 98 MB demo model that can be wrong"
MESSAGES = ("Share a 2 sentence horror story", "What was my first message?")


def build(model: Model | ModelSpec | str | None, store: Store, *, tools: bool = True) -> Agent:
    """A friendly agent; `tools=False` is for models that cannot call tools."""
    return Agent(
        model=model,
        db=store,
        session_id="chat_history",
        description="You are a helpful assistant that is always polite, upbeat and positive.",
        add_history_to_context=True,
        num_history_runs=3,
        read_chat_history=tools,
    )


def talk(agent: Agent) -> None:
    """Ask, and print the stored history."""
    for message in MESSAGES:
        print(f"> {message}")
        agent.print_response(message, stream=True)
    print("\nWhat the session has:")
    for said in agent.get_chat_history():
        print(f"  {said.role}: {said.content}")


def main() -> int:
    """Run; exit code 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="an id such as openai/gpt-5-mini, local, or echo")
    parser.add_argument("--store", default=".teamgraph", help="the folder of the sessions")
    options = parser.parse_args()
    if options.model is None:
        print(UNNAMED, file=sys.stderr)
    try:
        tools = options.model not in (None, "local")  # the demo model cannot call any
        talk(build(options.model, TinyDBStore(options.store), tools=tools))
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
