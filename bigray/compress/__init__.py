"""Compression: plans of methods, searched with Ray Tune under a quality budget."""
