"""The backend's process, seen from Slicer."""
