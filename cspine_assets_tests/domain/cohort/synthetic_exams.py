"""Exams and their provenance as a split needs them, without a download."""

import numpy as np
import pandas as pd


def cohort(exam_counts, provenances, seed=0, first=0):
    """Exams and provenance as the split needs them: a patient per count, a provenance per exam."""
    random = np.random.default_rng(seed)
    kinds = iter(provenances)
    rows = []
    for patient, count in enumerate(exam_counts, start=first):
        person = {
            "sex": random.choice(["Female", "Male"]),
            "age_years": float(random.integers(18, 89)),
            "race": random.choice(["White", "Black or African American", "Asian"], p=[0.65, 0.28, 0.07]),
        }
        for exam in range(count):
            scanner = {
                "manufacturer": random.choice(["Siemens", "GE"]),
                "magnetic_field_strength_t": random.choice([1.5, 3.0]),
            }
            name = f"p{patient:05d}_{exam}"
            rows.append(
                {
                    "exam_id": name,
                    "patient_id": f"p{patient:05d}",
                    "provenance": next(kinds),
                    **person,
                    **scanner,
                }
            )
    exams = pd.DataFrame(rows)
    exams["age_over_89"] = False
    exams["mask_file_name"] = exams["exam_id"]
    exams["series_uid"] = [f"1.2.{number}" for number in range(len(exams))]
    return exams.drop(columns="provenance"), exams[["exam_id", "patient_id", "provenance"]]
