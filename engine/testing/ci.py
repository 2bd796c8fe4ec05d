"""Whether somebody looks: in CI nobody would see which snapshots an update changed."""

from __future__ import annotations

import os


def refused_in_ci(update: str) -> str | None:
    """Why `update` (an option or a command) is refused here, or None where it is not."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        return None
    return (
        f"{update}: not in CI, where nobody would see what changed; update snapshots where you "
        "work, look at the diff and commit it"
    )
