"""The BudgetCheck component."""
