"""What the commands do, from names to a report: attack, certify, estimate, report."""
