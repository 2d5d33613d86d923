"""The command line: commands, films, options, tables, progress, and many tasks at once."""
