"""What `vidret extract` is made of: what to make, where to make it, and what came of it."""
