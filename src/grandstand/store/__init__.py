"""Durable memory: the log, sessions, jobs and series (SQLAlchemy Core)."""
