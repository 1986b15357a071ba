"""Grandstand: train agents, record what they report, watch and steer them live."""
