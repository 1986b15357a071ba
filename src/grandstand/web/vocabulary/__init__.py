"""Every word of the wire, in one table: what is said, what is understood, what closes.

docs/wire.md and docs/asyncapi.yaml are written from it (`page`, `asyncapi`), and
tests/docs/test_wire.py holds it against the code and has a server say each example.
"""
