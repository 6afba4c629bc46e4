"""The demo: a world of films with known truth, and the report that reads it."""
