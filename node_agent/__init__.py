"""The OrQuanta daemon that runs on each GPU host."""
