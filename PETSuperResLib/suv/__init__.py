"""Body-weight SUV from DICOM headers: evidence, timing, body size, and what the user states."""
