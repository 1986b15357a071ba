"""Report from a framework you train with already: one import, one line.

`grandstand.callbacks.sb3` is for Stable-Baselines3, `grandstand.callbacks.gymnasium` for a loop of
your own around Gymnasium environments. docs/integrations.md shows each at work.
"""
