"""The SDK: report a training from any loop, and steer the server's own.

Everything a user needs is importable from `grandstand` itself. The way from `import grandstand` to
the first `log()` loads only the standard library and msgspec.
"""
