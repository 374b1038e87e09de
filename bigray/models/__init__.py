"""bigray's own networks, one file each, and the loader of pretrained ones."""
