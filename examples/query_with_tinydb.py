"""Queries the tables of a session: each session is a TinyDB database."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from tinydb import TinyDB, where

from teamgraph import Graph, Runner, SessionKey, TinyDBStore
from teamgraph.errors import TeamgraphError
from teamgraph.nodes import HistoryLoader, Member, Router

KEY = SessionKey("ann", "lamp")
GRAPH = Graph(
    name="shop",
    model="echo",
    nodes={
        "history": HistoryLoader(),
        "router": Router(routes={"orders": "Parcels", "repairs": "Broken things"}),
        "orders": Member(role="You know where every parcel is"),
        "repairs": Member(role="You know how to mend a lamp"),
    },
    output=["orders", "repairs"],
)


def main() -> int:
    """Run three turns and query their tables; exit code 2 for an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", default=".teamgraph", help="the folder of the sessions")
    store = TinyDBStore(parser.parse_args().store)
    try:
        runner = Runner(GRAPH, store=store)
        for message in ("Where is my lamp?", "It is broken.", "When will it be mended?"):
            runner.run(message, user_id=KEY.user_id, session_id=KEY.session_id)
        with store.database(KEY) as database:
            run_queries(database)
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run_queries(database: TinyDB) -> None:
    """Three queries; `runs`, `nodes`, `state` and `summaries` are ordinary tables of TinyDB."""
    print("tables:", ", ".join(sorted(database.tables())))
    runs, nodes = database.table("runs"), database.table("nodes")

    about = runs.search(where("input").search("broken|mended"))
    print("about mending:", "; ".join(run["input"] for run in about))

    chosen = nodes.search((where("node") == "router") & where("choices").any(["orders"]))
    print("sent to orders:", len(chosen), "of", len(runs))

    (last,) = runs.search(where("number") == len(runs))
    asked = nodes.search((where("run") == last.doc_id) & where("exchanges").exists())
    print("asked a model in the last turn:", ", ".join(sorted(map(named, asked))))


def named(record: dict[str, Any]) -> str:
    """The node of a record, and how often it called a model."""
    return f"{record['node']} ({len(record['exchanges'])} x)"


if __name__ == "__main__":
    sys.exit(main())
