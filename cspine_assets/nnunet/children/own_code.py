"""The user's own trainer class, found by its name in the folder that was chosen and trusted.

Change this file when own code may come from elsewhere. Nothing else of the platform runs code of a user's;
whether it is still the trusted code is made sure of before the child starts.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from types import ModuleType
from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as StockTrainer

from cspine_assets.domain.errors import ModelError
from cspine_assets.nnunet.profiles import TRAINER, OwnTrainer


def load_trainer(wanted: OwnTrainer) -> Any:  # noqa: ANN401 - a class of nnU-Net's, which has no types
    """The class of that name; only the files that say ``class NAME`` are run, with their folder to import from.

    Raises:
        ModelError: No file defines it, it is no trainer, or it builds a network of its own, which prediction could
            not rebuild from the checkpoint.
    """
    found: Any = None
    defined = re.compile(rf"^class {re.escape(wanted.name)}\b", re.MULTILINE)
    sys.path.insert(0, str(wanted.folder))
    for file in sorted(wanted.folder.rglob("*.py")):
        if defined.search(file.read_text(encoding="utf-8", errors="replace")):
            found = getattr(_module(file.stem, str(file)), wanted.name, None)
            break
    if not (isinstance(found, type) and issubclass(found, StockTrainer)):
        raise ModelError(f"{wanted.folder}: expected a class {wanted.name} that extends {TRAINER}, found {found}")
    trainer: Any = found
    if trainer.build_network_architecture is not StockTrainer.build_network_architecture:
        raise ModelError(
            f"{wanted.name} builds a network of its own, and a prediction could not rebuild it. "
            "Put the architecture into the plans, or train with nnUNetv2_train."
        )
    return trainer


def _module(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModelError(f"{file}: expected a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
