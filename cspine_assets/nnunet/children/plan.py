"""The child that plans and preprocesses: nnU-Net's own steps, and the cut to a small network where asked.

Change this file when nnU-Net's planning changes or a profile alters plans in a new way.
Where the results are put belongs to the parent, ``plans``.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from cspine_assets.domain.files import fingerprint_file
from cspine_assets.nnunet.children import entry
from cspine_assets.nnunet.children.pools import nnunet_pools
from cspine_assets.nnunet.disk import DiskNeed, preprocessing_need, require_free_disk
from cspine_assets.nnunet.environment import PREPROCESSED
from cspine_assets.nnunet.messages import Note
from cspine_assets.nnunet.plans import SPLITS_FILE, PlannedConfiguration, PlanningResult, PlanRequest
from cspine_assets.nnunet.profiles import PLANNER, Configuration, SmallNetwork

MINIMUM_FEATURE_MAP = 4
"""Edge of the smallest feature map, as nnU-Net's planner has it."""


def plan(request: PlanRequest, emit: entry.Emit) -> PlanningResult:
    """Verify, fingerprint, plan and preprocess into ``nnUNet_preprocessed``."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as nnunet
    from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

    folder = Path(os.environ[PREPROCESSED]) / convert_id_to_dataset_name(request.dataset_number)
    identifier = request.profile.plans_identifier
    plans_file = folder / f"{identifier}.json"
    with nnunet_pools(request.profile.pools):
        emit(Note(text="checking the raw dataset and taking its fingerprint"))
        nnunet.extract_fingerprint_dataset(
            request.dataset_number, num_processes=request.workers, check_dataset_integrity=True
        )
        emit(Note(text="planning"))
        nnunet.plan_experiment_dataset(request.dataset_number, _planner(request.profile.planner))
        if request.profile.networks:
            _rewrite(plans_file, request.profile.networks)
        emit(Note(text="preprocessing " + " and ".join(Configuration)))
        require_free_disk(folder, _disk_need(folder, json.loads(plans_file.read_text())))
        nnunet.preprocess_dataset(
            request.dataset_number, identifier, tuple(Configuration), num_processes=[request.workers]
        )
    plans = json.loads(plans_file.read_text())
    return PlanningResult(
        configurations=tuple(_described(name, plans["configurations"][name]) for name in Configuration),
        dataset_fingerprint=fingerprint_file(folder / "dataset_fingerprint.json"),
        plans_fingerprint=fingerprint_file(plans_file),
    )


def _planner(name: str) -> type[Any]:
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners

    module = default_experiment_planner if name == PLANNER else residual_encoder_unet_planners
    planner: type[Any] = getattr(module, name)
    return planner


def _disk_need(folder: Path, plans: dict[str, Any]) -> DiskNeed:
    largest = max(math.prod(plans["configurations"][name]["median_image_size_in_voxels"]) for name in Configuration)
    cases = {case for fold in json.loads((folder / SPLITS_FILE).read_text()) for case in (*fold["train"], *fold["val"])}
    return preprocessing_need(cases=len(cases), median_voxels=int(largest), configurations=len(Configuration))


def _rewrite(plans_file: Path, networks: dict[Configuration, SmallNetwork]) -> None:
    plans = json.loads(plans_file.read_text())
    for name, network in networks.items():
        _shrink(plans["configurations"][name], network)
    plans_file.write_text(json.dumps(plans, indent=4))


def _shrink(planned: dict[str, Any], network: SmallNetwork) -> None:
    """Replace patch, batch and architecture of one configuration; resampling and normalization stay."""
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    wanted = [min(pair) for pair in zip(planned["patch_size"], network.max_patch_size, strict=True)]
    _, strides, kernels, patch_size, _ = get_pool_and_conv_props(
        planned["spacing"], wanted, MINIMUM_FEATURE_MAP, network.stages - 1
    )
    stages = min(network.stages, len(strides))
    kernels, strides = [list(kernel) for kernel in kernels], [list(stride) for stride in strides]
    for stage in range(network.flat_stages):
        kernels[stage][0], strides[stage + 1][0] = 1, 1
    planned["patch_size"] = [int(size) for size in patch_size]
    planned["batch_size"] = network.batch_size
    arguments = planned["architecture"]["arch_kwargs"]
    depth = "n_conv_per_stage" if "n_conv_per_stage" in arguments else "n_blocks_per_stage"  # residual encoders' word
    arguments |= {
        "n_stages": stages,
        "features_per_stage": [network.base_features * 2**stage for stage in range(stages)],
        "kernel_sizes": kernels[:stages],
        "strides": strides[:stages],
        depth: [network.convolutions] * stages,
        "n_conv_per_stage_decoder": [network.convolutions] * (stages - 1),
    }


def _described(name: Configuration, planned: dict[str, Any]) -> PlannedConfiguration:
    return PlannedConfiguration(
        configuration=name,
        patch_size=planned["patch_size"],
        spacing_mm=planned["spacing"],
        batch_size=planned["batch_size"],
        stages=planned["architecture"]["arch_kwargs"]["n_stages"],
        median_shape=planned["median_image_size_in_voxels"],
    )


if __name__ == "__main__":
    entry.run(PlanRequest, plan)
