"""The bundled synthetic set: a small world, its pictures, sounds, words, and clips of it."""
