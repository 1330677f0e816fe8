"""Check result files, make them anonymous and send them to where others find them."""
