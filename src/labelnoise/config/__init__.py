"""The configuration: its models, read, checked and expanded into cells."""
