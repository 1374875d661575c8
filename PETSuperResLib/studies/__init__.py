"""Training, compared methods, evaluation and benchmarks: not installed with the Slicer extension."""
