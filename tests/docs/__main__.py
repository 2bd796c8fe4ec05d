"""Builds the site into build/site: `python -m tests.docs [ZENSICAL]`, as `make docs` does.

Without the path of zensical it only writes what is generated on the pages, and draws their
pictures.
"""

from __future__ import annotations

import subprocess
import sys

from .pictures import pictures
from .reference import renewed
from .site import ROOT, problems_of, write_pages


def main(zensical: str | None) -> int:
    """Renew what is generated, build the pages, and check the result; the exit code."""
    for page in sorted((ROOT / "docs").rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (new := renewed(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: written")
    for file, drawing in pictures():
        if not file.exists() or file.read_text(encoding="utf-8") != drawing:
            file.write_text(drawing, encoding="utf-8")
            print(f"{file.relative_to(ROOT)}: drawn")
    if zensical is None:
        return 0
    write_pages(ROOT / "build" / "pages")
    build = [zensical, "build", "--clean", "--strict", "-f", "mkdocs.yml"]
    if (done := subprocess.run(build, cwd=ROOT, check=False)).returncode:
        return done.returncode
    problems = problems_of(ROOT / "build" / "site")
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    print(f"build/site: {f'{len(problems)} problems' if problems else 'valid'}")
    return min(len(problems), 1)


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or [None])))
