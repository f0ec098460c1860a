"""Local servers for one person's browser; the DICOM node's rules and queue."""
