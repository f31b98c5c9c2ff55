"""Threads where nnU-Net spawns processes, for children whose work is smaller than a worker's imports.

Change this file when nnU-Net changes how it makes its pools.
Who uses which kind of pool is decided in ``profiles``.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import ThreadPool
from typing import Literal
from unittest import mock


class _ThreadContext:
    """The one thing nnU-Net asks of a multiprocessing context: a pool."""

    Pool = staticmethod(ThreadPool)


@contextmanager
def nnunet_pools(kind: Literal["spawned", "threads"]) -> Iterator[None]:
    """While open, ``multiprocessing.get_context(...).Pool(n)`` is a pool of ``n`` threads, if so asked."""
    if kind == "spawned":
        yield
        return
    with mock.patch.object(multiprocessing, "get_context", lambda *_: _ThreadContext):
        yield
