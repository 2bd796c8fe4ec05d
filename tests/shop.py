"""Tools of a small shop, which a graph file can name."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from teamgraph import ToolContext, tool

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


class Till:
    """A toolkit: two tools, of which a person confirms one."""

    opened = 0

    def count(self, coin: int = 1) -> int:
        """Count the coins of a value."""
        return self._in_till(coin)

    @tool(confirm="arguments.amount > 100")
    async def pay(self, amount: int) -> str:
        """Pay money out."""
        return f"paid {amount}"

    @property
    def total(self) -> int:
        return 7

    def _in_till(self, coin: int) -> int:
        return 7 * coin


@dataclass
class PriceOf:
    """An object that is called."""

    factor: int = 1

    async def __call__(self, item: str) -> int:
        """Look up a price."""
        return PRICES[item] * self.factor


TILL, PRICE_OF = Till(), PriceOf(2)
NOT_CALLABLE = 3
half_a_tool = functools.partial(price, count=2)
