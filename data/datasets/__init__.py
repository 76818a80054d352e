"""The published datasets: one file each, from the annotation files that people hold to videos and captions."""
