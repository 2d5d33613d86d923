"""Options, tables, progress, error messages and exit statuses of all commands."""
