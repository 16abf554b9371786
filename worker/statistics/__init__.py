"""Arithmetic that knows neither tasks nor prompts. Pure."""
