"""What a shipped Collector carries, beside the components' defaults: ``make bench-collector``."""
