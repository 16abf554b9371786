"""The worker's commands; they join `whetstone` as entry points."""
