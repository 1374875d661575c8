"""Slicer's side of the backend's process."""
