"""Learning: the household task, its optimum, the trainers, evaluation and checkpoints.

The only folder with torch, numba and gymnasium in it. Importing this package loads none of them;
import the module that holds what you need.
"""
