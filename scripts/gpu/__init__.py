"""What `gpu-check.sh` runs on a machine with a GPU, and the record of what it found. Python's own library alone."""
