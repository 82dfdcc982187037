"""Value prediction."""
