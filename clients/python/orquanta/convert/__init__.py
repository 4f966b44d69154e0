"""Between the messages on the wire and the types of this package, one file per noun."""
