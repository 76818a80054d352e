"""How a cache lies on disk: HDF5 files that appear whole, locks, rows of many shards."""
