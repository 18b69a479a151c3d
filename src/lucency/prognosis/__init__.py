"""What the task of prognosis is made of: its network, the fusion of its branches, its numbers and its simple models."""
