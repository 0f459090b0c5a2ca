"""The benchmark's parts: what is started, how it is loaded, how the figures become a table."""
