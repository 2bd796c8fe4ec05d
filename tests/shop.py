"""Tools of a small shop, which a graph file can name."""

from __future__ import annotations

import functools

from teamgraph import ToolContext

PRICES = {"tea": 3, "bread": 4}


def price(item: str, count: int = 1) -> int:
    """Look up what something costs.

    Args:
        item: What to buy.
        count: How many of it.
    """
    return PRICES[item] * count


async def put_in_cart(item: str, context: ToolContext) -> str:
    """Put something into the cart."""
    context.session_state.setdefault("cart", [])
    context.session_state["cart"].append(item)  # type: ignore[union-attr]  # it is a list
    return f"{item} is in the cart"


NOT_CALLABLE = 3
half_a_tool = functools.partial(price, count=2)
