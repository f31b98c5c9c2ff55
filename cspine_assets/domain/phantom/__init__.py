"""A synthetic cohort in the exact layout of a MIDRC download."""
