"""Every table described once, a file per schema."""
