"""The BudgetSearch component."""
