"""What diagnostics share: checks of what is asked, labels of what is found, the shape of a verdict."""
