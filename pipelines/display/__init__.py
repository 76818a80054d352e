"""Reports as text and tables, and progress while it is made."""
