"""The bundled synthetic set: what it holds, and the generator that draws it."""
