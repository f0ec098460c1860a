"""The DICOM node: what is received, when a pipeline runs on it, and where its results go."""
