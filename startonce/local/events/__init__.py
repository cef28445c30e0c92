"""What hands events to functions and queues: SNS, S3 and EventBridge."""
