"""Results given to others: ``submission.submit`` checks them and makes them anonymous."""
