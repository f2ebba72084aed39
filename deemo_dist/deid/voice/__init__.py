"""Voices: disguised or removed, with melody and loudness kept."""
