"""Makes this folder importable: helpers shared by several suites are plain modules beside it."""
