"""The report on a pruned or stripped model: its figures, as JSON, and a page of HTML that shows them."""
