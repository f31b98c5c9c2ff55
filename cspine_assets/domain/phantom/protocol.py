"""How each synthetic exam was acquired: scanner, sequence, slices and spacings, as two vendors describe them.

Add here a scanner or a sequence that the release holds.
Where in the body the slices lie does not belong here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from numpy.random import Generator

from cspine_assets.domain.phantom.settings import CohortSettings

GE: Final = "GE MEDICAL SYSTEMS"
_LARGE_MATRIX: Final = 256


@dataclass(frozen=True)
class Scanner:
    """A scanner model as its headers name it."""

    manufacturer: str
    model: str
    field_strength_t: float
    software: str


@dataclass(frozen=True)
class Acquisition:
    """Everything a header says about how an exam was acquired."""

    scanner: Scanner
    is_3d: bool
    matrix: int
    slices: int
    pixel_spacing_mm: float
    slice_spacing_mm: float
    slice_thickness_mm: float
    repetition_time_ms: float
    echo_time_ms: float
    echo_train_length: int
    flip_angle_deg: float
    series_description: str
    sequence_name: str
    sequence_variant: str
    scan_options: str

    @property
    def is_ge(self) -> bool:
        """Returns whether the scanner is General Electric's."""
        return self.scanner.manufacturer == GE


_SIEMENS_SCANNERS: Final = (
    Scanner("SIEMENS", "Avanto", 1.5, "syngo MR B19"),
    Scanner("SIEMENS", "Aera", 1.5, "syngo MR E11"),
    Scanner("SIEMENS", "Espree", 1.5, "syngo MR B17"),
    Scanner("SIEMENS", "Skyra", 3.0, "syngo MR E11"),
    Scanner("SIEMENS", "TrioTim", 3.0, "syngo MR B17"),
)
_NEW_SIEMENS_SCANNERS: Final = (
    Scanner("Siemens", "MAGNETOM Sola", 1.5, "syngo MR XA20"),
    Scanner("Siemens", "MAGNETOM Vida", 3.0, "syngo MR XA20"),
)
_GE_SCANNERS: Final = (
    Scanner(GE, "Signa HDxt", 1.5, "15\\LX\\MR Software release:HD16.0_V03_1638.a"),
    Scanner(GE, "Optima MR450w", 1.5, "25\\LX\\MR Software release:DV25.0_R02_1549.b"),
    Scanner(GE, "DISCOVERY MR750", 3.0, "24\\LX\\MR Software release:DV24.0_R01_1344.a"),
)
_SIEMENS_NAMES: Final = ("T2 TSE SAG", "t2_tse_sag", "SAG T2", "SAG T2 TSE", "T2 SAG C-SPINE")
_GE_NAMES: Final = ("SAG T2 FRFSE", "Sag T2 FSE", "SAG T2", "Sag FRFSE T2")


def draw_scanners(rng: Generator, count: int, *, with_exceptions: bool) -> list[Scanner]:
    """Draws the scanner of each exam: 63 % Siemens, every seventh of them in the newer spelling."""
    vendors = ["ge" if share < 466 / 1255 else "siemens" for share in (rng.permutation(count) + 0.5) / count]
    siemens = [index for index, vendor in enumerate(vendors) if vendor == "siemens"]
    new = set(siemens[::7]) if with_exceptions else set()
    pools = [
        _GE_SCANNERS if vendor == "ge" else (_NEW_SIEMENS_SCANNERS if index in new else _SIEMENS_SCANNERS)
        for index, vendor in enumerate(vendors)
    ]
    return [pool[int(rng.integers(len(pool)))] for pool in pools]


def draw_acquisition(rng: Generator, settings: CohortSettings, scanner: Scanner, *, is_3d: bool) -> Acquisition:
    """Draws how one exam was acquired.

    Args:
        rng: The exam's own generator.
        settings: Sizes of the pictures.
        scanner: Decides names and times.
        is_3d: A 3-D acquisition has thin slices without gaps.
    """
    is_ge = scanner.manufacturer == GE
    names = _GE_NAMES if is_ge else _SIEMENS_NAMES
    field_of_view_mm = float(rng.choice([220, 230, 240, 250], p=[0.2, 0.25, 0.45, 0.1]))
    thin, slices_3d = (1.0, 56) if settings.matrix >= _LARGE_MATRIX else (2.0, 24)
    thickness = thin if is_3d else float(rng.choice([3.0, 3.5], p=[0.75, 0.25]))
    gap = 0.0 if is_3d else float(rng.choice([0.3, 0.6, 0.9, 1.0, 1.5], p=[0.25, 0.2, 0.2, 0.25, 0.1]))
    turbo = int(rng.integers(13, 26))
    return Acquisition(
        scanner=scanner,
        is_3d=is_3d,
        matrix=settings.matrix,
        slices=slices_3d if is_3d else int(rng.integers(settings.slices_min, settings.slices_max + 1)),
        pixel_spacing_mm=round(field_of_view_mm / settings.matrix, 6),
        slice_spacing_mm=thickness + gap,
        slice_thickness_mm=thickness,
        repetition_time_ms=1500.0 if is_3d else float(rng.integers(280, 450) * 10),
        echo_time_ms=round(float(rng.uniform(88, 116)), 3 if is_ge else 0),
        echo_train_length=turbo * 4 if is_3d else turbo,
        flip_angle_deg=float(rng.choice([111.0, 142.0]) if is_ge else rng.choice([150.0, 160.0, 180.0])),
        series_description=_name_3d(is_ge) if is_3d else str(rng.choice(names)),
        sequence_name="" if is_ge else (f"*spcir_{turbo}" if is_3d else f"*tse2d1_{turbo}"),
        sequence_variant="SS\\SK\\SP" if is_ge else "SK\\SP\\OSP",
        scan_options="FAST_GEMS\\FC_FREQ_AX_GEMS\\SP\\FC\\EDR_GEMS" if is_ge else "PFP\\SAT1",
    )


def _name_3d(is_ge: bool) -> str:
    return "Sag T2 CUBE" if is_ge else "T2 SPACE SAG"
