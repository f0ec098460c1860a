"""Reading a dose: DVH, metrics, goals, radiobiology, outcome."""
