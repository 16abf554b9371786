"""Optimization runs, from the labels that start one to what is published and whether it stays."""
