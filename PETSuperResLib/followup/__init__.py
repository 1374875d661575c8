"""Follow-up: lesions of two or more PET/CT studies of a patient, paired and compared over time."""
