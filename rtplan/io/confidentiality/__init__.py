"""The de-identification profile: PS3.15 Table E.1-1 and the words that a description may keep, as data."""
