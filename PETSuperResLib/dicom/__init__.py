"""DICOM in and out: series read and checked, derived series written."""
