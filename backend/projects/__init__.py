"""What is done with a Label Studio project: connected, filled with predictions, looked at, changed by hand."""
