"""Many patients: one task each on Dask, a manifest that survives crashes, a cohort table at the end."""
