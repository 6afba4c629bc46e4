"""What describes clips: captioners and their training."""
