"""What a network would do if it were lazy: its linearisation at the start."""
