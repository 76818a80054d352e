"""What `vidret search`, `explain`, `index check` and `serve` share: one searcher, loaded once."""
