"""A MIDRC download: finding and reading it, its exams, who drew the masks, and the splits."""
