"""The published datasets: a file each, from what people hold to videos and captions."""
