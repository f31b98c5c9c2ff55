"""Tables of schema ``nnunet``: what went into the raw datasets, the plans, and every trained fold.

Add a column when a model needs to say more of itself. How nnU-Net is run stands in the ``nnunet`` package.
"""

from __future__ import annotations

from cspine_assets.domain.tables.base import Integer, Number, Table, Text, Truth, column
from cspine_assets.domain.tables.evaluation import PROFILES, SPLIT, STRUCTURES
from cspine_assets.domain.tables.prediction import POSTPROCESSINGS, PREDICTORS

CONFIGURATIONS = ("2d", "3d_fullres")
FOLDS = (0, 1, 2, 3, 4)


class RawDataset(Table):
    """One row per case of Dataset108_CSpineSeg: expert exams for training, and the test exams kept apart."""

    case_id: Text = column("nnU-Net's name of the case; it is the exam's own, so that no position is an identity")
    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    part: Text = column("imagesTr for development, imagesTs for the test set", isin=("imagesTr", "imagesTs"))
    fold: Integer = column("Fold that holds the case out; missing for the test set", nullable=True, ge=0)
    split_sha256: Text = column(SPLIT)
    volume_sha256: Text = column("SHA-256 of the volume")
    mask_sha256: Text = column("SHA-256 of the mask")

    class Config:
        """Name and key."""

        name = "nnunet.raw_dataset"
        unique = ["case_id"]


class UnannotatedDataset(Table):
    """One row per case of Dataset111_CSpineSeg_UNANNO: exams without an expert mask, to be predicted."""

    case_id: Text = column("nnU-Net's name of the case; it is the exam's own")
    exam_id: Text = column("Exam: patient, study and series number")
    patient_id: Text = column("Patient")
    volume_sha256: Text = column("SHA-256 of the volume")

    class Config:
        """Name and key."""

        name = "nnunet.unannotated_dataset"
        unique = ["case_id"]


class Plans(Table):
    """One row per configuration: what nnU-Net planned from the fingerprint of the development exams."""

    configuration: Text = column("nnU-Net configuration", isin=CONFIGURATIONS)
    profile: Text = column("Profile the plans were made for", isin=PROFILES)
    data_fingerprint: Text = column("SHA-256 over cases, folds and files that the plans were made from")
    split_sha256: Text = column(SPLIT)
    plans_sha256: Text = column("SHA-256 of the plans file")
    cases: Integer = column("Development cases", ge=1)
    patch_size: Text = column("Patch size in voxels, joined by x")
    spacing_mm: Text = column("Target spacing in nnU-Net's axis order, joined by x", unit="mm")
    batch_size: Integer = column("Batch size", ge=1)
    stages: Integer = column("Resolution stages of the network", ge=1)

    class Config:
        """Name and key."""

        name = "nnunet.plans"
        unique = ["configuration"]


class TrainedFolds(Table):
    """One row per model in force: a configuration trained without one fold. What is being trained is not among them."""

    configuration: Text = column("nnU-Net configuration", isin=CONFIGURATIONS)
    fold: Integer = column("Fold held out", ge=0)
    profile: Text = column("Profile of the model; demo models are for trying out, never for results", isin=PROFILES)
    path: Text = column("Folder of the fold, relative to the home")
    epochs: Integer = column("Epochs trained in all", unit="epochs", ge=1)
    resumed_from_epoch: Integer = column("Epoch of the checkpoint that the last run resumed from", nullable=True, ge=0)
    seconds: Number = column("Wall time of the last run", unit="s", ge=0)
    validation_dice_vertebral_body: Number = column(
        "nnU-Net's own validation Dice of bodies", nullable=True, ge=0, le=1
    )
    validation_dice_intervertebral_disc: Number = column(
        "nnU-Net's own validation Dice of discs", nullable=True, ge=0, le=1
    )
    device: Text = column("Device of the training, such as cpu or cuda:0")
    split_sha256: Text = column(SPLIT)
    checkpoint_sha256: Text = column("SHA-256 of checkpoint_final.pth")
    data_fingerprint: Text = column("SHA-256 over cases, folds and files that the model was trained from")

    class Config:
        """Name and key."""

        name = "nnunet.trained_folds"
        unique = ["configuration", "fold"]


class TrainingLog(Table):
    """One row per epoch of a trained model; an epoch that was trained again after a resume stands here once.

    Pseudo Dice is nnU-Net's own, over patches of the validation cases: a trend, not a result.
    """

    configuration: Text = column("nnU-Net configuration", isin=CONFIGURATIONS)
    fold: Integer = column("Fold held out", ge=0)
    epoch: Integer = column("Epoch, counted from 1", ge=1)
    epochs: Integer = column("Epochs of the whole training", unit="epochs", ge=1)
    train_loss: Number = column("Loss on training patches; missing where it was no number", nullable=True)
    validation_loss: Number = column("Loss on validation patches; missing where it was no number", nullable=True)
    pseudo_dice_vertebral_body: Number = column(
        "Pseudo Dice of bodies; missing where no validation patch held one", nullable=True, ge=0, le=1
    )
    pseudo_dice_intervertebral_disc: Number = column(
        "Pseudo Dice of discs; missing where no validation patch held one", nullable=True, ge=0, le=1
    )
    ema_pseudo_dice: Number = column(
        "Moving average of the mean pseudo Dice, by which nnU-Net knows its best epoch", nullable=True
    )
    learning_rate: Number = column("Learning rate", ge=0)
    seconds: Number = column("Wall time of the epoch", unit="s", ge=0)
    device: Text = column("Device of the last part of the training, such as cpu:0 or cuda:0")
    profile: Text = column("Profile of the model", isin=PROFILES)
    data_fingerprint: Text = column("SHA-256 over cases, folds, files and recipe that the model was trained from")

    class Config:
        """Name and key."""

        name = "nnunet.training_log"
        unique = ["configuration", "fold", "epoch"]


class PostprocessingChoice(Table):
    """One row per predictor, option and structure: what each postprocessing scores on cross-validation.

    Keep-largest keeps the largest connected piece of bodies and discs together. It is chosen where the mean Dice of
    both structures grows and neither structure's falls. Structure macro is the mean of both.
    """

    predictor: Text = column("2d, 3d_fullres, or their ensemble", isin=PREDICTORS)
    option: Text = column("What is done to the masks: none or keep_largest", isin=POSTPROCESSINGS)
    structure: Text = column("Segmented structure, or macro", isin=(*STRUCTURES, "macro"))
    profile: Text = column("Profile of the models; demo numbers are no results", isin=PROFILES)
    split_sha256: Text = column(SPLIT)
    n: Integer = column("Exams with a Dice", ge=0)
    mean_dice: Number = column("Mean volumetric Dice over exams", nullable=True, ge=0, le=1)
    exams_changed: Integer = column("Exams whose mask the option changes", ge=0)
    exams_better: Integer = column("Exams whose Dice the option raises", ge=0)
    exams_worse: Integer = column("Exams whose Dice the option lowers", ge=0)
    chosen: Truth = column("Whether the option is applied to the predictor's masks")
    reason: Text = column("Why it was chosen, or not")

    class Config:
        """Name and key."""

        name = "nnunet.postprocessing"
        unique = ["predictor", "option", "structure"]


class ModelArchive(Table):
    """One row: all trained folds of both configurations as nnU-Net's own zip, with a model card in it."""

    path: Text = column("Zip file, relative to the home")
    sha256: Text = column("SHA-256 of the zip")
    size_bytes: Integer = column("Size of the zip", unit="bytes", ge=1)
    files: Integer = column("Entries in the zip", ge=1)
    configurations: Text = column("nnU-Net configurations in it, joined by a comma")
    folds: Text = column("Folds of each, joined by a comma")
    profile: Text = column("Profile of the models; demo models are for trying out, never for results", isin=PROFILES)
    data_fingerprint: Text = column("SHA-256 over the contents of the training cases")
    split_sha256: Text = column(SPLIT)
    training_cases: Integer = column("Exams that the models learned from", ge=1)
    licence: Text = column("Licence of the models, in the words of whoever exported them")
    card: Text = column("Readable model card, relative to the home")

    class Config:
        """Name and key."""

        name = "nnunet.model_archive"
        unique = ["path"]
