"""The bars of telemetry, each measured beside a floor or a peer in the same run."""
