from __future__ import annotations

import pytest

from .__main__ import TABLES


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_still_be_measured(name: str) -> None:
    rows = list(TABLES[name](short=True))
    assert rows
    assert all(row.number > 0 or row.unit == "objects" for row in rows)
    assert all(map(str, rows))
