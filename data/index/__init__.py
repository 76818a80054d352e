"""An index of vectors on the disk: what lies there, and how it is asked."""
