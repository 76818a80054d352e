"""What `vidret ablate` is made of: rows, fits side by side, kept ranks, comparisons."""
