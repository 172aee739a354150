"""What every room needs and no room owns: error types and whole-file writing."""
