"""What subscribes to the events: journal, metrics, history, states, log. Imports no actor."""
