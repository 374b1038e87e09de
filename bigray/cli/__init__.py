"""The command line: one file per verb, see `bigray.cli.main`."""
