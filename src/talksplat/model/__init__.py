"""Networks and fields that methods are built of."""
