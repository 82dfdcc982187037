"""Studies by name, one YAML file each; see `closerlook.studies.preset`."""
