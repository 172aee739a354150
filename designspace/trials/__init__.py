"""What is asked of a network and what happened to it, in memory and on disk. No torch."""
