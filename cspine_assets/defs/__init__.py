"""Dagster here: assets, checks, resources and automation, loaded from this folder."""
