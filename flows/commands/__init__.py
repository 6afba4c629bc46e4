"""The commands of `reel` by subject. Nothing heavy is imported before a command runs."""
