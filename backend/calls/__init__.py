"""Calls to LLMs: which engine, how many at once, and when to wait."""
