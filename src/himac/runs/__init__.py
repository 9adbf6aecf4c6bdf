"""A run's files: who writes them, who reads them, what people see while it goes on."""
