"""Readers of published data sets, each giving patients or training samples."""
