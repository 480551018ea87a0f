"""What writes parts of the repository from others."""
