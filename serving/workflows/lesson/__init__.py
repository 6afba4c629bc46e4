"""Lessons: narrated segments become one film with captions, chapters, a transcript and a quiz."""
