"""One process, one task: trains a session or evaluates a model, reporting through the SDK."""
