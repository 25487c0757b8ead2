"""The verbs of the command line: one module each, with `add_parser(subparsers)` and `command(arguments) -> exit code`."""
