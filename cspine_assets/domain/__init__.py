"""The imaging library: everything that can be said about the study without Dagster or nnU-Net."""
