"""A cohort over arms: paired findings of each patient → agreement → ``study.json``, table and page."""
