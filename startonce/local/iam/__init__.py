"""IAM: who a caller is, what it asks for, and whether it may."""
