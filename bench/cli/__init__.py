"""Provide the parser, filters, output and progress of all commands."""
