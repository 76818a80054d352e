"""The bundled synthetic set: a small world, its pictures, sounds and words, and the clips drawn from it."""
