"""Passwords: where they are, and how they stay out of sight."""
