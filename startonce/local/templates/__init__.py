"""CloudFormation: templates whole or not at all, and the resource types that moto lacks."""
