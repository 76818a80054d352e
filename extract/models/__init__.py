"""What encoders have in common: their tokens, their projections, windows of sound."""
