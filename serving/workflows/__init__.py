"""Finished work for film, games, education and marketing: plans in, deliverables out."""
