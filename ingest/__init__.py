"""What reads footage: sources, decode, shots, scores, duplicates, clips."""
