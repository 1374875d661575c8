"""Measures of lesions."""
