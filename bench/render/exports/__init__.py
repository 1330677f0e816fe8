"""Write the report for other tools, a module for each of their formats."""
