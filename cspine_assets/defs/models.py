"""Assets of group ``nnunet`` that come after training: the choice of postprocessing, and the archive.

Add an asset when something is made of finished models. What stands before them is in ``nnunet`` and ``training``, what
they draw in ``prediction``.
"""

from collections.abc import Iterator

import dagster as dg
import pandas as pd

from cspine_assets.defs.archiving import archive_models
from cspine_assets.defs.io import Made, table_asset
from cspine_assets.defs.resources import Study
from cspine_assets.defs.row_files import names_files
from cspine_assets.defs.shown import markdown_table
from cspine_assets.domain.errors import ModelError
from cspine_assets.domain.named_files import NamedFile, name_file
from cspine_assets.domain.tables.base import rows_of
from cspine_assets.domain.tables.cohort import AnnotationProvenance
from cspine_assets.domain.tables.evaluation import FoldSummary, SummaryOnTest
from cspine_assets.domain.tables.nnunet import ModelArchive, Plans, PostprocessingChoice, RawDataset, TrainedFolds
from cspine_assets.domain.tables.prediction import FoldPredictions
from cspine_assets.nnunet import dataset
from cspine_assets.nnunet.choosing import choose, score_options
from cspine_assets.nnunet.model_card import NO_LICENCE


@table_asset(PostprocessingChoice, deps=[FoldPredictions, RawDataset], version="1", kinds=("nnunet", "numpy"))
def postprocessing(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Keep-largest over the merged foreground, or nothing: chosen for each predictor on all folds together.

    Test exams have no say in it.
    """
    predicted = study.read(FoldPredictions).query("status == 'ok'")
    references = study.home.nnunet_raw / str(dataset.ANNOTATED) / "labelsTr"
    tables = []
    for predictor, rows in predicted.groupby("predictor", sort=True):
        scores = [
            score
            for row in rows_of(rows)
            for score in score_options(
                row.exam_id, references / f"{row.exam_id}{dataset.FILE_ENDING}", study.home.absolute(row.path)
            )
        ]
        tables.append(choose(scores).assign(predictor=predictor))
    if not tables:
        raise ModelError(
            "expected predictions of cross-validation to choose a postprocessing by, every one of them failed. "
            "See the reasons in prediction.fold_predictions."
        )
    frame = pd.concat(tables, ignore_index=True).assign(
        profile=study.profile.name, split_sha256=study.read(RawDataset)["split_sha256"].iloc[0]
    )
    brief = frame[frame["structure"] == "macro"]
    shown = brief[["predictor", "option", "mean_dice", "exams_changed", "exams_worse", "chosen", "reason"]]
    return Made(frame, {"profile": study.profile.name, "choice": markdown_table(shown, ".4f")})


@names_files(ModelArchive)
def _files_of_archive(study: Study, frame: pd.DataFrame) -> Iterator[NamedFile]:
    """Yields the archive and the readable card beside it."""
    for row in rows_of(frame):
        yield name_file(study.home.root, study.home.absolute(row.path), sha256=row.sha256)
        yield name_file(study.home.root, study.home.absolute(row.card))


@table_asset(
    ModelArchive,
    deps=[
        Plans,
        RawDataset,
        TrainedFolds,
        PostprocessingChoice,
        AnnotationProvenance,
        FoldSummary,
        SummaryOnTest,
    ],
    version="2",
    kinds=("nnunet", "zip"),
)
def model_archive(_context: dg.AssetExecutionContext, study: Study) -> Made:
    """Every trained fold as nnU-Net's own zip, with a model card; nothing of a single patient is in it."""
    made = archive_models(study, study.home.model_archive / f"{dataset.ANNOTATED}.zip", licence=NO_LICENCE)
    shown = {
        "profile": study.profile.name,
        "size_bytes": made.archive.size_bytes,
        "sha256": made.archive.sha256,
        "card": dg.MetadataValue.md(made.readable),
    }
    folds = sorted({fold for numbers in made.card.configurations.values() for fold in numbers})
    row = {
        "path": study.home.relative(made.archive.path),
        "sha256": made.archive.sha256,
        "size_bytes": made.archive.size_bytes,
        "files": made.archive.files,
        "configurations": ",".join(made.card.configurations),
        "folds": ",".join(map(str, folds)),
        "profile": made.card.profile,
        "data_fingerprint": made.card.data_fingerprint,
        "split_sha256": made.card.split_sha256,
        "training_cases": made.card.training_cases,
        "licence": made.card.licence,
        "card": study.home.relative(made.readable_path),
    }
    return Made(pd.DataFrame([row]), shown)
