"""Builds: pure functions from committed runs and annotation files to a new dataset with a manifest of its own."""
