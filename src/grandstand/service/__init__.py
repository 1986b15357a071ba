"""The verbs: the only writers, called by every door."""
