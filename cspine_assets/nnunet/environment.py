"""The environment from which one child learns its folders and its numbers of workers.

Add a variable here when a child needs one; the parent's own environment is never changed.
Which values a study uses belongs in ``profiles``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PREPROCESSED: Final = "nnUNet_preprocessed"
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS")

KEPT_MEMORY: Final = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(2**26)}
"""Lets glibc keep freed memory for the next array, for children that make large arrays by the thousand.

By default an array of some 30 MB is asked of the system each time and its pages are zeroed each time: a sixth of the
CPU time of a prediction beside small networks.
"""


@dataclass(frozen=True, kw_only=True)
class NnunetFolders:
    """nnU-Net's three folders."""

    raw: Path
    preprocessed: Path
    results: Path

    @classmethod
    def under(cls, root: Path) -> NnunetFolders:
        """The three folders with their usual names inside ``root``."""
        return cls(raw=root / "raw", preprocessed=root / "preprocessed", results=root / "results")

    @property
    def logs(self) -> Path:
        """Where the logs of the children lie: beside the three."""
        return self.results.parent / "logs"


def child_environment(
    folders: NnunetFolders,
    *,
    workers: int,
    augmentation_workers: int | None,
    compile_network: bool | None = None,
    threads: int = 1,
) -> dict[str, str]:
    """The whole environment of one child.

    Args:
        folders: nnU-Net's folders; made absolute.
        workers: Size of nnU-Net's process pools (``nnUNet_def_n_proc``).
        augmentation_workers: ``nnUNet_n_proc_DA``; 0 augments inside the training process, None is nnU-Net's
            own choice. Planning dies on 0, so it must say 1 or more.
        compile_network: ``nnUNet_compile``; None is nnU-Net's own choice, which compiles on a GPU and never on a CPU.
        threads: Of every numerical library. One: on a busy CPU two are slower by far.

    nnU-Net variables of the caller's own environment do not reach the child: a forgotten
    ``nnUNet_extTrainer`` or ``nnUNet_compile`` would change results without a trace.
    """
    environment = {key: value for key, value in os.environ.items() if not key.lower().startswith("nnunet_")}
    environment |= {
        "nnUNet_raw": str(folders.raw.resolve()),
        PREPROCESSED: str(folders.preprocessed.resolve()),
        "nnUNet_results": str(folders.results.resolve()),
        "nnUNet_def_n_proc": str(workers),
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(threads),
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
        "MPLBACKEND": "Agg",
        "PYTHONUNBUFFERED": "1",
    }
    environment |= dict.fromkeys(_THREAD_VARIABLES, str(threads))
    if augmentation_workers is not None:
        environment["nnUNet_n_proc_DA"] = str(augmentation_workers)
    if compile_network is not None:
        environment["nnUNet_compile"] = str(compile_network).lower()
    return environment
