"""Archives, DICOM headers, conversion to NIfTI, and masks."""
