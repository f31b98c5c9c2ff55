"""cspine-assets: the CSpineSeg cervical-spine MRI study as a Dagster asset platform."""
