"""What all processes share in Redis, and the values that are kept there."""
