"""What Lambda runs. Each file can be copied alone; ``record_operation`` needs ``event_pointer``."""
