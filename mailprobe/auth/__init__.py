"""Passwords and bearer tokens: where they come from, and how they stay out of sight."""
