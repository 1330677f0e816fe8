"""What all commands share: their parser, filters, output and progress."""
