"""The compression methods, one file each; see bigray.compress.base for the contract."""
