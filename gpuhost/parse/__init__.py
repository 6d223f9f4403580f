"""Reading what programs print: text in, typed dataclasses out. Pure.

Every parser is strict: text that is not what it is taken for raises
:class:`~gpuhost.parse.errors.ParseError` with the words that were not
understood, so that a check can say "could not be determined", not "fine".
"""
