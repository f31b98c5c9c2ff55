"""Whether a model from elsewhere means by its numbers what the study means: labels, channel, dimension and trainer.

Add a name here when a model of bodies and discs calls them otherwise. What is in an archive is the matter of
``imported``, and nothing of a model is run here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from cspine_assets.domain.anatomy import BACKGROUND, LABELS, Structure
from cspine_assets.nnunet.profiles import TRAINER, Configuration

_DISC: Final = re.compile(r"dis[ck]s?|ivds?|intervertebral")
_BODY: Final = re.compile(r"vertebra\w*|vert|vbs?|bod(?:y|ies)|corpus|corpora")
_OTHER: Final = re.compile(
    r"cord|canal|csf|sacrum|process\w*|arch|pedicles?|lamina|nerves?|roots?|lesions?|tumou?rs?|background"
)
_T2: Final = re.compile(r"t2|mri?|magnetic|image|nonorm|zscore|\d*")
_AXES: Final = {Configuration.FLAT: 2, Configuration.FULL_RESOLUTION: 3}
_IMPORT_S: Final = 120

CONSENT: Final = "--accept-names"


def label_fault(labels: object, *, accepted: bool) -> str | None:
    """Returns why the labels of a ``dataset.json`` are not the study's, None where they are.

    Args:
        labels: As nnU-Net writes them: number by name.
        accepted: Whether a person has said that names which tell nothing mean the study's structures.
    """
    expected = "expected labels 0 background, 1 vertebral bodies and 2 discs"
    if not isinstance(labels, Mapping) or not all(type(number) is int for number in labels.values()):
        return f"{expected}, got {labels!r:.200}. Only models of these structures can be used here."
    if sorted(labels.values()) != [BACKGROUND, *sorted(LABELS.values())]:
        return f"{expected}, got {labels!r:.200}. Only models of these structures can be used here."
    named_zero = {_structure(str(name)) for name, number in labels.items() if number == BACKGROUND}
    meant = {int(number): _structure(str(name)) for name, number in labels.items() if number}
    by_study = {number: structure for structure, number in LABELS.items()}
    if {number: by_study[3 - number] for number in meant} == meant:
        return (
            f"{expected}; here bodies and discs are swapped, got {labels!r:.200}. Its masks would call every body a "
            "disc. Train it with the study's numbers, or exchange 1 and 2 in its masks and score them as a tool's."
        )
    wrong = [number for number, found in meant.items() if found not in (by_study[number], None)]
    if wrong or "other" in meant.values() or not named_zero <= {None, "other"}:
        return f"{expected}, got {labels!r:.200}. Only models of these structures can be used here."
    if None in meant.values() and not accepted:
        return (
            f"{expected}, got {labels!r:.200}, whose names do not tell. If you know that they mean these, say so with "
            f"{CONSENT}."
        )
    return None


def channel_fault(description: Mapping[str, Any], *, accepted: bool) -> str | None:
    """Returns why the channels of a ``dataset.json`` are not one T2 image of the study's kind."""
    channels, ending = description.get("channel_names"), description.get("file_ending")
    if not isinstance(channels, Mapping) or len(channels) != 1:
        return f"expected a model of one channel, got {channels!r:.200}."
    if ending != ".nii.gz":
        return (
            f"expected a model of .nii.gz files, got file_ending {ending!r:.40}. Where it was trained on files that "
            'nnU-Net reads alike (.nii), write ".nii.gz" into its dataset.json.'
        )
    name = str(next(iter(channels.values())))
    if name.lower() == "ct":
        return "expected a model of T2 images, got one of CT, whose intensities are scaled in another way."
    if not any(_T2.fullmatch(word) for word in _words(name)) and not accepted:
        return f"expected a model of T2 images, got channel {name!r:.60}. If it is one, say so with {CONSENT}."
    return None


def dimension_fault(plans: Mapping[str, Any], configuration: Configuration, channels: int = 1) -> str | None:
    """Returns why plans are not those of a configuration, or of other channels than the data set's."""
    configurations = plans.get("configurations")
    planned = configurations.get(configuration) if isinstance(configurations, Mapping) else None
    if not isinstance(planned, Mapping):
        return f"expected plans of {configuration}, its plans.json has none. Export the model again."
    patch = planned.get("patch_size")
    if isinstance(patch, list) and len(patch) != _AXES[configuration]:
        return f"expected a patch of {_AXES[configuration]} axes in the plans of {configuration}, got {len(patch)}."
    intensities = plans.get("foreground_intensity_properties_per_channel")
    if isinstance(intensities, Mapping) and len(intensities) != channels:
        return f"expected plans of {channels} channel(s) as in dataset.json, got {len(intensities)}."
    return None


def trainer_module(name: str) -> str | None:
    """Returns the module of nnU-Net that defines a trainer; None where it has none of that name. Nothing is loaded."""
    spec = find_spec("nnunetv2")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    defined = re.compile(rf"^class {re.escape(name)}\b", re.MULTILINE)
    for place in places:
        root = Path(place)
        for file in sorted((root / "training" / "nnUNetTrainer").rglob("*.py")):
            if defined.search(file.read_text(encoding="utf-8", errors="replace")):
                return ".".join(("nnunetv2", *file.relative_to(root).with_suffix("").parts))
    return None


def trainer_fault(name: str) -> str | None:
    """Returns what a trainer of nnU-Net lacks here to be loaded, None where nothing, or where it is none of nnU-Net's.

    A trainer of somebody's own is no fault: the network is built by the plans, and its weights have to fit.
    """
    module = None if name == TRAINER else trainer_module(name)
    if module is None:
        return None
    tried = subprocess.run(
        [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=_IMPORT_S, check=False
    )
    if tried.returncode == 0:
        return None
    said = (tried.stderr.strip().splitlines() or ["it said nothing"])[-1]
    return (
        f"expected trainer {name} to load here, it does not ({said:.200}). Install what it lacks; torchvision has to "
        "be of the same build as torch."
    )


def _structure(name: str) -> Structure | str | None:
    """Returns what a label's name says: a structure of the study, ``other``, or None where it tells nothing."""
    words = _words(name)
    if any(_OTHER.fullmatch(word) for word in words):
        return "other"
    if any(_DISC.fullmatch(word) for word in words):
        return Structure.INTERVERTEBRAL_DISC
    return Structure.VERTEBRAL_BODY if any(_BODY.fullmatch(word) for word in words) else None


def _words(name: str) -> list[str]:
    """Returns the words of a name in lower case, also of ``vertebralBody`` and ``vertebral_body``."""
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return re.findall(r"[a-z]+\d?|\d+", apart.lower())
