"""What times streamstore against its rivals and against the machine: `python -m bench`, or `make bench`."""
