"""Step Functions: executions, moto's interpreter mended, and the API's answers."""
