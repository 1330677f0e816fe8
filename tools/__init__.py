"""Commands for maintainers: documents, native builds and the package diagram. Not in the wheel."""
