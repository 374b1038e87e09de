"""One file per data format; the file name is the value of ``data.format``."""
