"""Check the contents of files against declared types, with errors that say what is wrong where."""
