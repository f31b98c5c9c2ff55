"""What files hold, as checksums that are remembered: a file that has not changed is not read again.

Add here what tells whether a source is the same as before. Which files a patient's volumes are made from is said by
the caller.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from cspine_assets.domain.files import fingerprint_stream

_LINE = re.compile(r"(?P<size>\d+)\t(?P<changed>\d+)\t(?P<sha256>[0-9a-f]{64})\t(?P<location>.+)")

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileState:
    """A file as the disk lists it: while this stays the same, its content is taken to.

    Attributes:
        location: Its place, through an archive.
        size_bytes: Its size.
        changed_ns: When it was last changed.
    """

    location: str
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class ContentMemory:
    """SHA-256 of files by their state.

    Kept as lines of text that are only ever added, so that several processes may remember at once and a killed one
    loses a line at most.

    Attributes:
        path: The text file.
    """

    path: Path

    def sha256(self, state: FileState, opened: Callable[[], IO[bytes]]) -> str:
        """Returns the SHA-256 of a file's content; it is read when it is new here, or has changed.

        Args:
            state: The file as it is now.
            opened: Opens it; what that raises is raised here.
        """

        def read() -> str:
            with opened() as stream:
                return fingerprint_stream(stream)

        return self.remembered(state, read)

    def remembered(self, state: FileState, read: Callable[[], str]) -> str:
        """Returns the SHA-256 of a file's content, by whatever way of reading it; one that is none is not kept."""
        known = self._known.get(state)
        if known is None:
            known = read()
            if _SHA256.fullmatch(known):
                self._known[state] = known
                self._add(state, known)
        return known

    @cached_property
    def _known(self) -> dict[FileState, str]:
        if not self.path.exists():
            return {}
        lines = (_LINE.fullmatch(line) for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines())
        return {
            FileState(line["location"], int(line["size"]), int(line["changed"])): line["sha256"]
            for line in lines
            if line is not None
        }

    def _add(self, state: FileState, sha256: str) -> None:
        line = f"{state.size_bytes}\t{state.changed_ns}\t{sha256}\t{state.location}"
        with suppress(OSError):  # a home that may only be read, or a full disk: it is read again the next time
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as stream:
                # the line break comes first: it ends what a killed process left half-written
                stream.write(f"\n{line}")
