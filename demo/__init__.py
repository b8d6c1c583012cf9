"""The demo: sendit's main job on real processes that live and die with one command.

Nothing here is part of what a site installs. The modules import the standard library
only (`samples` also needs pydicom, `__main__` rich), so that the end-to-end tests can start the
same stack from their own environment.
"""
