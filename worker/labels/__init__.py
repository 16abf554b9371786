"""What people decided: read from Label Studio, counted, turned into examples."""
