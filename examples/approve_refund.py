"""A refund that a person confirms, and a letter that a person approves: approve_refund.yaml.

python examples/approve_refund.py "My lamp 17 is broken" --model openai/gpt-5-mini

The run waits for answers, and holds nothing meanwhile. This script asks them at once; in another
program the answers come by `teamgraph runs respond`, or from your own pages by `Runner.respond`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from teamgraph import JSON, Graph, Question, Runner, ToolContext
from teamgraph.errors import TeamgraphError

HERE = Path(__file__).parent
ORDERS = {17: {"lamp": "desk lamp", "price": 40, "days": 12}, 18: {"lamp": "torch", "price": 9}}
PAID: dict[str, int] = {}


def look_up(order: int) -> dict[str, JSON] | str:
    """Look up an order: the lamp, its price, and how many days ago it was returned."""
    found = ORDERS.get(order)
    return dict(found) if found else f"there is no order {order}"


def refund(order: int, amount: int, context: ToolContext) -> str:
    """Pay money back to the customer.

    Args:
        order: The number of the order.
        amount: The whole amount, in euros.
    """
    # A call is executed again if the process was killed in it; then it has the same key.
    PAID.setdefault(context.idempotency_key, amount)
    return f"{amount} euros are paid back for order {order}"


def ask(question: Question) -> JSON:
    """The answer that is typed at the terminal."""
    print(question.text)
    return input(f"{' or '.join(question.options) or 'approve or reject'}> ")


def main() -> int:
    """Decide about one message."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("message")
    parser.add_argument("--model", help="asked instead of the graph's model")
    options = parser.parse_args()
    try:
        graph = Graph.load(HERE / "approve_refund.yaml", allow=["approve_refund"])
        runner = Runner(graph, model=options.model)
        run = runner.run(options.message)
        while run.questions:
            answers = {question.path: ask(question) for question in run.questions}
            run = runner.respond(run.run_id, answers, session_id=run.session_id)
    except TeamgraphError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(run.answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
