"""Reading and checking DICOM series, and writing derived ones."""
