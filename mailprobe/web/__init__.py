"""The HTTP side: reads `observe`, never the actors."""
