"""Predictions for many tasks at once, and the tasks that get none."""
