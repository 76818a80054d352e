"""What an extraction need not do: shards, rows and pixels that are there already."""
