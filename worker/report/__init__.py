"""The report: figures, one JSON document, and that document in words."""
