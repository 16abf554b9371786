"""Predictions after they were made: renewed, explained, and what their scores say of the project."""
