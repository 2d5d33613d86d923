"""A server that verifies the drafts of real devices over a network (extra ``testbed``)."""
