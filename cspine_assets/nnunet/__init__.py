"""All that touches nnunetv2 or torch, run in child processes."""
