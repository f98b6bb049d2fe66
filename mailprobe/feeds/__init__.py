"""Vendors' status feeds: fetched politely, read in pure code, published as events. Imported where one is configured."""
