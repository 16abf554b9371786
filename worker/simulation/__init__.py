"""The loop that serves, run over a labelled file, with neither Label Studio nor Redis."""
