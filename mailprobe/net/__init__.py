"""Addresses, sockets and TLS, and the one map from what they raise to facts about the world."""
