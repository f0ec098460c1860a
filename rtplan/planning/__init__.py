"""Making a dose: beams, engine, objectives, optimiser."""
