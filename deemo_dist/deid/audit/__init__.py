"""The audit: what an attacker, or another detector, still finds in what was released."""
