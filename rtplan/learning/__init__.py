"""From patients to weights and back."""
