"""The command line: one small module a command; each parses, calls one function, prints."""
