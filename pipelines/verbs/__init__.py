"""The verbs of the command line, by what they work on. Each loads its own libraries when it is called."""
