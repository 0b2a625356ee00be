"""The arena: what an adversary does, as plain functions from honest material to malicious material."""
