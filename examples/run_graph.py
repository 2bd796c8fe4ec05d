"""Runs any graph file from the command line: python examples/run_graph.py GRAPH MESSAGE."""

from __future__ import annotations

import argparse
import sys

from teamgraph import Event, Graph, Runner, TinyDBStore
from teamgraph.errors import TeamgraphError
from teamgraph.events import Answer, NodeSkipped, Token


def main() -> int:
    """Run once; exit code 1 for an error."""
    options = arguments()
    try:
        graph = Graph.load(options.graph)
        runner = Runner(graph, store=TinyDBStore(options.store), model=options.model)
        for event in runner.stream(
            options.message, user_id=options.user, session_id=options.session
        ):
            show_event(event)
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def show_event(event: Event) -> None:
    """Stream the answer to standard output; print skipped nodes to standard error."""
    match event:
        case Token(answer=True, text=text):
            print(text, end="", flush=True)
        case Answer():
            print()
        case NodeSkipped(node=node, because=because):
            print(f"{node} was skipped: {because}", file=sys.stderr)
        case _:
            pass


def arguments() -> argparse.Namespace:
    """The command line, parsed."""
    parser = argparse.ArgumentParser(description="Run a graph once and stream its answer.")
    parser.add_argument("graph", help="a graph file, such as graphs/desk.yaml")
    parser.add_argument("message", help="what the user says")
    parser.add_argument("--user", help="the user that the session belongs to")
    parser.add_argument("--session", help="the session to continue; without it, a new one")
    parser.add_argument("--model", help="an id such as openai/gpt-5-mini, local, or echo")
    parser.add_argument("--store", default=".teamgraph", help="the folder of the sessions")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
