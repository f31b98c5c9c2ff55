"""The ruler: overlap, levels and the statistics over them."""
