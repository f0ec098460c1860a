"""One patient, read → run → write: the out folder of ``rtplan run``, whole or not at all."""
