"""nnU-Net's own commands on the models and test exams of a home, as a person without this platform would call them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

from cspine_assets.domain.home import Home
from cspine_assets.nnunet.dataset import ANNOTATED
from cspine_assets.nnunet.postprocessing import Postprocessing
from cspine_assets.nnunet.prediction import Predictor
from cspine_assets.nnunet.profiles import DEMO, Configuration
from cspine_assets_tests.nnunet.stock_command import run_stock


def stock_masks(home: Home, out: Path, postprocessing: dict[Predictor, Postprocessing]) -> dict[Predictor, Path]:
    """Predict twice, ensemble, and apply postprocessing where there is one; returns the folder of each predictor."""
    images = home.nnunet_raw / str(ANNOTATED) / "imagesTs"
    how = ["-d", "108", "--save_probabilities", "-step_size", str(DEMO.step_size), "-device", "cpu"]
    how += ["--disable_tta"] if DEMO.disable_tta else []
    for name in Configuration:
        _run(home, "predict", "-i", images, "-o", out / name, "-c", name, *how, "-npp", "0", "-nps", "0")
    _run(home, "ensemble", "-i", *(out / name for name in Configuration), "-o", out / "ensemble", "-np", "1")
    return {predictor: _postprocessed(home, out / predictor, option) for predictor, option in postprocessing.items()}


def _postprocessed(home: Home, masks: Path, option: Postprocessing) -> Path:
    if option is Postprocessing.NONE:
        return masks
    rule = masks.with_name("rule.pkl")
    rule.write_bytes(
        pickle.dumps(([remove_all_but_largest_component_from_segmentation], [{"labels_or_regions": [1, 2]}]))
    )
    done = masks.with_name(f"{masks.name}_postprocessed")
    plans = masks.with_name("2d") / "plans.json"
    _run(home, "apply_postprocessing", "-i", masks, "-o", done, "-pp_pkl_file", rule, "-plans_json", plans, "-np", "1")
    return done


def _run(home: Home, command: str, *arguments: object) -> None:
    folders = {
        "nnUNet_raw": home.nnunet_raw,
        "nnUNet_preprocessed": home.nnunet_preprocessed,
        "nnUNet_results": home.nnunet_results,
        "nnUNet_def_n_proc": 1,
        "OMP_NUM_THREADS": 1,
    }
    run_stock(command, *arguments, env=os.environ | {name: str(value) for name, value in folders.items()})
