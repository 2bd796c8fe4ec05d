"""Any operations in any order, compared with a store so plain that it can be read."""

from __future__ import annotations

from itertools import count
from typing import ClassVar

from ...errors import InputError
from .contract import Contract, Stores


class AnyOrderTests(Contract):
    """hypothesis looks for operations after which the store says what it should not."""

    examples: ClassVar[int] = 30
    """How many sequences of operations are tried; of each some 30 operations."""

    def test_any_operations_in_any_order_do_what_the_model_does(self, stores: Stores) -> None:
        try:
            from .machine import hunt  # noqa: PLC0415  hypothesis is wanted for this test only
        except ImportError as error:
            raise InputError(
                "the store's state machine needs the package hypothesis; install it with "
                "pip install 'teamgraph[testing]'"
            ) from error

        numbers = count()
        hunt(lambda: stores.elsewhere(str(next(numbers))), examples=self.examples)
