"""Files of weights: read without running anything in them, known, checked, converted."""
