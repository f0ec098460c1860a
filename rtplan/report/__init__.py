"""What a person reads: figures, the page, the document."""
