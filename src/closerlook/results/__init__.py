"""What is kept: the definition of every variable, and run folders that can be resumed."""
