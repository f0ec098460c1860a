"""The door: DICOM and other files become patients, and patients become files."""
