"""The browser of the tests: where it is, and how it is started without anything of a person's own.

Run as a module it says how to get the browser where there is none, and ends with status 1.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import BrowserContext, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
APPLICATIONS = tuple(Path(f"/Applications/{name}.app/Contents/MacOS/{name}") for name in ("Chromium", "Google Chrome"))
QUIET = (
    "--no-sandbox",  # also as root, as in a container; it loads the tests' own pages alone
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING = (
    "expected Chromium for the tests of the page, found none. Install it: `apt-get install chromium` on Debian, "
    "`brew install --cask chromium` on macOS."
)


def find_chromium() -> str | None:
    """Returns the browser's program, or None where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return found or next((str(path) for path in APPLICATIONS if path.exists()), None)


@contextmanager
def browser(folder: Path, *flags: str) -> Iterator[BrowserContext]:
    """Starts the browser with a fresh profile in a folder; a missing one fails the test."""
    program = find_chromium()
    assert program is not None, MISSING
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program, headless=True, args=[*QUIET, *flags]
        )
        try:
            yield context
        finally:
            context.close()


if __name__ == "__main__":
    sys.exit(None if find_chromium() else MISSING)
