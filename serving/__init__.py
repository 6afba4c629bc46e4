"""What users call: the HTTP API, durable jobs and the engine behind them."""
