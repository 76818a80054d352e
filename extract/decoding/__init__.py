"""Video files read with PyAV or ffmpeg, to the same bytes; `extract/decode.py` is the way in."""
