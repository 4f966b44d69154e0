"""What each XID and SXid means and what the vendor says to do: reviewed data files and how to look them up."""
