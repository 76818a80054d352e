"""From a video file to embeddings; each module knows one outside tool."""
