"""The digital pelvis: a seed becomes a patient; writes no file."""
