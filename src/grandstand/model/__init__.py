"""The words both sides share: sessions, telemetry, scenarios. No input, no output."""
