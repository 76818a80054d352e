"""One file per command, and what only commands need."""
