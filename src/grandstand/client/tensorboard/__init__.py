"""Runs that TensorBoard's event files hold, read and followed without TensorBoard."""
