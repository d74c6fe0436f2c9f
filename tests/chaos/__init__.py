"""A run that must finish, with nothing lost and nothing doubled, whatever is done to the machine meanwhile."""
