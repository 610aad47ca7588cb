"""A run on the disk: files that are written whole, checkpoints, the log, the versions."""
