"""Provide what all commands share: the parser, filters, output and progress."""
