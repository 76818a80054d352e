"""What a report says of a run, and how it is drawn."""
