"""What is done to a finished cache: check it, sweep it, export it."""
