"""An HTTP server for WSGI applications whose answers take long: one loop for all sockets, threads for whole requests.

A slow client costs a socket and no thread, however many of them there are. It knows nothing of pictures or Flask.
"""
