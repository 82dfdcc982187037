"""The monitor inside the training loops of other libraries: one module a library, imported only where it is used."""
