"""Proxies that stand between the project and a real server, and misbehave when a test wants it."""
