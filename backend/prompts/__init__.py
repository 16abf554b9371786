"""Which prompt serves a project, and how prompts read."""
