"""Folders of cases: finding, checking, dividing and reconstructing them."""
