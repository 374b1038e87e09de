"""Serving: a compressed model behind HTTP, on Ray Serve."""
