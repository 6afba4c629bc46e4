"""When things run: Prefect flows, deployments, the command line, the demo."""
