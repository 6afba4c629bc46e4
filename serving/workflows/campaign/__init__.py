"""Campaigns: few generations become one advert for each audience, locale, aspect and duration."""
