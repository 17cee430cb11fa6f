"""A local viewer over the files that the Collector wrote: an index, answers, a server, a page.

Everything that is shown was written by agents, models and tools and may be hostile.  The server
listens on loopback, wants a token, and answers with plain JSON; the page puts it into text nodes
only, under a content security policy that runs nothing else.
"""
