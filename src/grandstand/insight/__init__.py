"""What an agent weighs and how it looks at play, read out of the frameworks that train it.

Both sides of the field use it: the trainers of `train/`, and the callbacks of `client/` that report
somebody's own training. Each module loads the library it reads; this one loads nothing.
"""
