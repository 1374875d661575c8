"""Time and memory on this machine, beside peers."""
