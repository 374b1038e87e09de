"""What bigray's endpoint is measured against: the same model served in other ways, one program each.

Each takes a folder and a port, answers ``POST /`` with ``{"inputs": text}`` by a list of labels and scores, uses one thread
for the model, and runs until it is told to end. Their packages come with ``pip install bigray[bench]``.
"""
