"""The web page of vidret and the API behind it."""
