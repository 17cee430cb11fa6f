"""What telemetry costs, beside the libraries one could use instead: ``make bench``."""
