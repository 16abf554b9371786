"""The daily watch: is what is served still what it was?"""
