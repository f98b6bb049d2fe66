"""Embedded mail servers in this process: for the demo, the drill and the tests."""
