"""What happened, kept for learning: the replay buffer."""
