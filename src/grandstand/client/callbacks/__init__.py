"""Reporters that sit in other people's frameworks, one module each.

People import them from `grandstand.callbacks`. Each loads its framework; this module loads nothing.
"""
