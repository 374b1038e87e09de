"""Wire dialects, one file each: how a family of clients asks and wants to be answered."""
