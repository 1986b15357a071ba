"""Experiment trackers, each used as its own documentation shows; one file a tracker."""
