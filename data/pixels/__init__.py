"""Pixel shards: what decoding made of videos, kept so that it need not be done again."""
