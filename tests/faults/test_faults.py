"""A small part of the faults, with a fixed seed; `make faults` does all of it.

`make distributed` has that of workers, which needs PostgreSQL.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .__main__ import DATABASE, NAMES


@pytest.mark.parametrize("name", [each for each in NAMES if each not in DATABASE])
def test_no_fault_costs_anything_and_every_broken_store_is_found_out(name: str) -> None:
    # A child that is killed leaves half a file of coverage behind.
    environment = {key: text for key, text in os.environ.items() if "COVERAGE" not in key}
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults", name, "--short"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
