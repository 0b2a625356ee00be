"""Strategies in the place of models: who earns what by the whole protocol."""
