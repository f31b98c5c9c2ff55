"""Time and memory of what has a budget; run by `make bench`, a module per subject with a function ``main``."""
