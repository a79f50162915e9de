"""The work behind the commands attack, certify, estimate and report: from names to a report."""
