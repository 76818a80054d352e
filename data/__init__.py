"""What a sample is and how it lies on disk: the ground floor."""
