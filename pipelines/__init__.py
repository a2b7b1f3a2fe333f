"""How it runs: files, cluster, registry, command line."""
