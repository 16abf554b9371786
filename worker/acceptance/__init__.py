"""What may be accepted unseen, and how sure that is."""
