"""What predicts (x, u) -> x': the simulator; one a file."""
