"""What a DICOM file says: its mark, its attributes, and dates and times among them."""
