"""The bundled tiny encoders: weights, their makers script and its log."""
