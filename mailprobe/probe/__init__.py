"""Probing: the ledger of canaries in flight, and the actors that feed it."""
