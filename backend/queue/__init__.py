"""Work for the worker: what is queued, how jobs end, one run a project at a time."""
