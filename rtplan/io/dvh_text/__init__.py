"""DVH text exports of planning systems: what each file says, and nothing that it does not say."""
