"""The search for a better prompt and the decision on it. Pure: labels in, a finding out."""
