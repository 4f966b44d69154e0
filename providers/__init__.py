"""Sources of GPU hosts: clouds, clusters and hosts you own."""
