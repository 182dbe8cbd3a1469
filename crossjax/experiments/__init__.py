"""Whole runs: data, hardware, figures. Nothing else imports them."""
