"""LLM calls at a run's cost: reserved, cached, paid from its budget."""
