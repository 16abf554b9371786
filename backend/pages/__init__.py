"""HTML pages: what the commands and the API tell, for a browser, without a script."""
