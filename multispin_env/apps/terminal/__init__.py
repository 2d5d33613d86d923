"""Parts that all commands share: options, tables, progress, and how errors become a sentence and an exit status."""
