"""Runs: building by name, the training loop, evaluation, checkpoints, logging and seeding."""
