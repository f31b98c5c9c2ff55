"""The columns of the six tables of the release of 2025-03-21, in the order of the files.

Change a list when a release does.
Values do not belong here.
"""

from __future__ import annotations

from typing import Final


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split())


CASE: Final = _columns(
    "type submitter_id datasets age_at_index age_at_index_gt89 case_ids country_of_residence covid19_positive "
    "ethnicity gen3_linked_subjects_available icu_indicator index_event linked_external_data long_covid_diagnosis "
    "race sex site_id token_record_id ventilator_indicator treatment_info zip"
)
IMAGING_STUDY: Final = _columns(
    "submitter_id type case_ids cases.submitter_id age_at_imaging age_at_imaging_gt89 body_part_examined "
    "days_to_study image_data_modified loinc_code loinc_contrast loinc_long_common_name loinc_method loinc_system "
    "study_description study_modality study_uid study_year study_year_shifted"
)
MR_SERIES: Final = _columns(
    "imaging_studies.submitter_id angio_flag case_ids contrast_bolus_agent diffusion_b_value "
    "diffusion_gradient_orientation echo_number echo_train_length echo_time image_type imaged_nucleus "
    "imager_pixel_spacing lossy_image_compression magnetic_field_strength mr_acquisition_type "
    "number_of_temporal_positions manufacturer manufacturer_model_name modality pixel_spacing series_description "
    "series_uid spatial_resolution repetition_time scan_options scanning_sequence sequence_name sequence_variant "
    "slice_thickness software_version spacing_between_slices type data_type data_format data_category submitter_id "
    "image_data_modification_method image_data_modification_name image_data_modified number_of_instances"
)
ANNOTATION_FILE: Final = _columns(
    "type submitter_id case_ids mr_series_files.submitter_id annotation_name annotation_method data_type data_format "
    "data_category file_name file_size md5sum object_id"
)
IMAGE_MANIFEST: Final = _columns(
    "submitter_id case_ids study_uid series_uid instance_uid instance_number file_name file_size md5sum object_id "
    "archive"
)
CLINICAL_MANIFEST: Final = _columns("file_name file_size md5sum object_id commons_url")
