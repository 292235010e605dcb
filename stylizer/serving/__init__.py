"""An HTTP server for WSGI applications with slow responses: one loop for all sockets, threads for complete requests.

Slow clients occupy a socket but no thread, however many there are. It is independent of pictures and Flask.
"""
