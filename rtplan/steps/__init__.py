"""The steps of the clinical pipeline, one file each; CLINICAL is the tuple in clinical order."""
