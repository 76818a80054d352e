"""What makes any folder a dataset: videos told by their content, captions in several forms."""
