"""Settings: what they are, where their values come from, how they become options."""
