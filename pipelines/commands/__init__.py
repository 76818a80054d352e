"""The commands of the command line, a few in each module; `pipelines/cli.py` joins them."""
