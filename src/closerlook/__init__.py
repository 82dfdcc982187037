"""Deep policy-gradient agents under the microscope."""
